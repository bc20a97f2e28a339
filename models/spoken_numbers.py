"""Numbers in digits -> as they are spoken.

Whisper writes 3000块 and 18:30 where people say 三千块 and 十八点三十分, which is what the classifier learned from.
"""

import re
from functools import lru_cache

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_CLAUSE = re.compile(r"[^\s,;!?\"，。；！？]+")  # a number lies within one
_LONGEST_CLAUSE = 100  # characters; more is no speech, and the grammar takes a second for a thousand digits
_NAME = re.compile(r"([A-Za-z\d]*[A-Za-z][A-Za-z\d]*)")  # such as P2P, which is no number


def spoken_numbers(text: str) -> str:
    if not _has_digits(text):
        return text
    return _CLAUSE.sub(lambda clause: _spoken(clause[0]), _THOUSANDS.sub("", text))


@lru_cache(maxsize=1024)  # an utterance is read again as what was said before the next two
def _spoken(clause: str) -> str:
    if not _has_digits(clause) or len(clause) > _LONGEST_CLAUSE:
        return clause
    from wetext import Normalizer  # noqa: PLC0415 - some 40 MiB and a while, which a service without digits need not have

    grammar = Normalizer(lang="zh", operator="tn")  # which keeps its tables for all that are made
    parts = _NAME.split(clause)  # every second one is a name
    parts[::2] = [grammar.normalize(part) if _has_digits(part) else part for part in parts[::2]]
    return "".join(parts)


def _has_digits(text: str) -> bool:
    return any("0" <= c <= "9" for c in text)
