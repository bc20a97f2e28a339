"""Utterances -> the same with telephone numbers, cards, plates, e-mail and house numbers masked, also spoken ones.

A mask is as long as what it hides, so that every other character keeps its place.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Protocol, runtime_checkable

from pydantic import BaseModel

from models.simplified import simplified
from pipelines.report import Report

MASK = "*"
_WORDS = ("text", "raw_text")


class Private(StrEnum):
    MOBILE = "mobile"
    LANDLINE = "landline"
    ID_CARD = "id_card"
    BANK_CARD = "bank_card"
    NUMBER = "number"  # long enough for one of those, but misheard or of no known form
    CODE = "code"
    PLATE = "plate"
    EMAIL = "email"
    ADDRESS = "address"


@runtime_checkable
class Heard(Protocol):
    """Something with a place in the recording; seconds."""

    @property
    def channel(self) -> int: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Span:
    """text[start:stop] is private."""

    kind: Private
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Joining:
    """When pieces of numbers belong together."""

    fewest_digits: int = 7  # a landline number without area code; sums of money are spoken with units
    fewest_of_code: int = 4
    fewest_of_piece: int = 3
    turns_apart: int = 2  # between two pieces the other side says 嗯


def private_spans(text: str, joining: Joining = Joining()) -> list[Span]:
    """In order, without overlap."""
    return private_spans_of_call([text], joining)[0]


def private_spans_of_call(texts: Sequence[str], joining: Joining = Joining()) -> list[list[Span]]:
    """Of consecutive utterances, whose numbers may be spread over several of them."""
    plain = ["".join(map(_simplified_character, text)) for text in texts]
    numbers = [_numbers(text) for text in plain]
    found = [[*_marked(text), *_long(text, runs, joining)] for text, runs in zip(plain, numbers, strict=True)]
    for index, run in _spread(plain, numbers, joining):
        found[index].append(Span(Private.NUMBER, run.start, run.stop))
    return [_without_overlap(spans) for spans in found]


def mask(text: str, spans: Sequence[Span]) -> str:
    characters = list(text)
    for span in spans:
        characters[span.start : span.stop] = MASK * (span.stop - span.start)
    return "".join(characters)


def redact(text: str) -> str:
    return mask(text, private_spans(text))


def redact_report(report: Report) -> Report:
    """Everything but the words stays as it is."""
    said = private_spans_of_call([u.text for u in report.utterances])
    raw = private_spans_of_call([u.raw_text for u in report.utterances])
    shown = tuple(
        u.model_copy(update={"text": mask(u.text, a), "raw_text": mask(u.raw_text, b)})
        for u, a, b in zip(report.utterances, said, raw, strict=True)
    )
    others = {name: tuple(_redacted(part) for part in parts) for name, parts in _other_parts(report)}
    return report.model_copy(update={"utterances": shown, **others})


def parts_to_silence(report: Report) -> list[Heard]:
    """Whatever has words in which something private is said."""
    spans = private_spans_of_call([u.text for u in report.utterances])
    private: list[Heard] = [u for u, found in zip(report.utterances, spans, strict=True) if found]
    others = (part for _, parts in _other_parts(report) for part in parts if _redacted(part) != part)
    return private + [part for part in others if isinstance(part, Heard)]


def _other_parts(report: Report) -> Iterator[tuple[str, tuple[BaseModel, ...]]]:
    for name, value in report:
        if name != "utterances" and isinstance(value, tuple) and all(isinstance(part, BaseModel) for part in value):
            yield name, value


def _redacted(part: BaseModel) -> BaseModel:
    """By the names of its fields, so that no part of a report that comes to have words is forgotten here."""
    words = {name: value for name in _WORDS if isinstance(value := getattr(part, name, None), str)}
    return part.model_copy(update={name: redact(value) for name, value in words.items()})


@lru_cache(maxsize=10_000)
def _simplified_character(character: str) -> str:
    """One for one, unlike whole phrases, so that what is found in simplified text has its place in the given one."""
    if character.isascii() or "\ud800" <= character <= "\udfff":  # half a pair of UTF-16 is no character
        return character
    plain = simplified(character)
    return plain if len(plain) == 1 else character


_DIGITS = {
    digit: str(value)
    for value, digits in enumerate(
        (
            "0０零〇洞",
            "1１一幺壹",
            "2２二两贰",
            "3３三叁",
            "4４四肆",
            "5５五伍",
            "6６六陆",
            "7７七拐柒",
            "8８八捌",
            "9９九勾玖",
        )
    )
    for digit in digits
}
# What recognisers write for a digit, seen in and around numbers; counts only between digits.
_MISHEARD = {
    character: str(value)
    for value, characters in enumerate(
        (
            "林灵另动懂",
            "要腰妖邀吆么衣医",
            "而儿耳",
            "山伞",
            "是事似",
            "吴午舞",
            "流留刘柳",
            "气期怪",
            "吧把爸",
            "久酒就够狗沟",
        )
    )
    for character in characters
}
_DIGIT = "".join(_DIGITS)
_SURE = f"[{_DIGIT}]"
_REPEATED = f"[两二三四五六2-6]个{_SURE}"
_PAUSE = r"(?:[\s,，、.。·…—\-_~()（）]|杠|嗯|呃|啊|然后是|再是|空格){0,4}"
_RUN = re.compile(
    f"(?:[要腰妖邀](?={_SURE}))?(?:{_REPEATED}|{_SURE})"
    f"(?:{_PAUSE}(?:{_REPEATED}|{_SURE}|[{''.join(_MISHEARD)}](?={_PAUSE}{_SURE})))*"
    f"(?:{_PAUSE}(?:[XxＸｘ叉]|[艾埃]克斯))?"
)
# Then the digits are a sum, a date or a count.
_UNIT_AFTER = re.compile(r"\s*(?:[年月日天期个块元万千百亿点分岁次%％名位折成倍]|十|号(?![码楼院])|多(?:块|元|万))")
_UNIT_BEFORE = re.compile(r"[十百千万亿点第]$")
_SUM_AFTER = re.compile(r"\s*(?:[元块万亿]|人民币)")
_CODE_BEFORE = re.compile(r"(?:验证码|校验码|密码|动态码|口令)[^零一二三四五六七八九\d]{0,6}$")
_FILLERS = re.compile(r"[\s,，、.。·…—\-？?！!嗯呃啊哦对是的好然后再]")

_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE = re.compile(
    f"[{_PROVINCES}]\\s*[A-Za-z]\\s*[·.]?\\s*(?:(?:[A-Za-z]|{_SURE})[\\s,，]*){{4,6}}[挂学警港澳领]?", re.ASCII
)
# Every character in one way only: what fits two ways is tried in twice as many ways for each of its characters.
_NAME = f"(?:[A-Za-z._%+\\-{_DIGIT}]|下划线|点|杠)"
_EMAIL = re.compile(
    f"{_NAME}+\\s*(?:@|艾特|圈[aAＡ]|\\bat\\b)\\s*[A-Za-z\\-{_DIGIT}]+"
    r"(?:\s*(?:\.|点)\s*(?:[A-Za-z]{2,10}|康姆|抗姆))+"
)
_COUNT = f"(?:{_SURE}|[十百])"
_HOUSE = re.compile(
    f"(?:(?<=[路街巷道里村弄园区苑庄屯同坊])\\s*(?:第)?{_COUNT}+\\s*号(?:院|楼)?"
    f"|(?<=[村屯庄])\\s*{_COUNT}+\\s*组"
    f"|{_COUNT}+\\s*(?:[栋幢](?!楼|房)|号楼|号院|单元|座(?=\\s*{_COUNT}))"
    f"|{_COUNT}+\\s*弄(?=\\s*{_COUNT})"
    f"|{_SURE}{{3,4}}\\s*(?:室|房间|号房))"
    f"(?:[\\s,，、的]*[A-Za-z]?{_COUNT}+\\s*(?:号楼|栋|幢|单元|层|楼|室|房|号|户))*"
    f"(?:[\\s,，、]*{_SURE}{{3,4}}(?!{_SURE}|[块元年月]))?"
)


@dataclass(frozen=True, slots=True)
class _Run:
    start: int
    stop: int
    digits: str
    sure: int  # how many of them are not misheard


def _numbers(text: str) -> list[_Run]:
    return [run for found in _RUN.finditer(text) for run in _parsed(found)]


def _parsed(found: re.Match[str]) -> Iterator[_Run]:
    digits, sure, position = "", 0, 0
    run = found[0]
    while position < len(run):
        character = run[position]
        if re.match(_REPEATED, run[position:]):
            times = int(_DIGITS[character])
            digits += _DIGITS[run[position + 2]] * times
            sure += times
            position += 3
            continue
        if character in _DIGITS:
            digits += _DIGITS[character]
            sure += 1
        elif character in _MISHEARD:
            digits += _MISHEARD[character]
        elif character in "XxＸｘ叉艾埃":
            digits += "X"
        position += 1
    if len(digits.rstrip("X")) not in (14, 17):
        digits = digits.rstrip("X")
    yield _Run(found.start(), found.end(), digits, sure)


def _long(text: str, runs: Sequence[_Run], joining: Joining) -> Iterator[Span]:
    for run in runs:
        coded = _CODE_BEFORE.search(text[: run.start])
        fewest = joining.fewest_of_code if coded else joining.fewest_digits
        if len(run.digits) < fewest or run.sure < min(fewest, len(run.digits) - 3):
            continue
        kind = _kind(run.digits)
        if kind is Private.NUMBER and _SUM_AFTER.match(text, run.stop):
            continue
        yield Span(Private.CODE if coded and kind is Private.NUMBER else kind, run.start, run.stop)


def _kind(digits: str) -> Private:
    if re.fullmatch(r"1[3-9]\d{9}", digits) or re.fullmatch(r"(?:86|0086)1[3-9]\d{9}", digits):
        return Private.MOBILE
    if re.fullmatch(r"\d{17}[\dX]", digits) and _id_card_adds_up(digits):
        return Private.ID_CARD
    if re.fullmatch(r"\d{15,19}", digits) and _luhn_adds_up(digits):
        return Private.BANK_CARD
    if re.fullmatch(r"0[1-9]\d{8,10}", digits):
        return Private.LANDLINE
    return Private.NUMBER


def _id_card_adds_up(digits: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(weight * int(digit) for weight, digit in zip(weights, digits[:17], strict=True))
    return "10X98765432"[total % 11] == digits[17]


def _luhn_adds_up(digits: str) -> bool:
    doubled = [int(d) * (1 + place % 2) for place, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _marked(text: str) -> Iterator[Span]:
    for kind, pattern in ((Private.EMAIL, _EMAIL), (Private.PLATE, _PLATE), (Private.ADDRESS, _HOUSE)):
        for found in pattern.finditer(text):
            start = found.start() + len(found[0]) - len(found[0].lstrip())
            yield Span(kind, start, found.start() + len(found[0].rstrip(" ,，、")))


def _spread(texts: Sequence[str], numbers: Sequence[Sequence[_Run]], joining: Joining) -> Iterator[tuple[int, _Run]]:
    """Pieces, each too short, that make a long number together."""
    pieces = [
        (index, run) for index, runs in enumerate(numbers) for run in runs if _is_piece(texts[index], run, joining)
    ]
    clusters: list[list[tuple[int, _Run]]] = []
    for piece in pieces:
        if clusters and piece[0] - clusters[-1][-1][0] <= joining.turns_apart:
            clusters[-1].append(piece)
        else:
            clusters.append([piece])
    for cluster in clusters:
        if sum(len(run.digits) for _, run in cluster) >= joining.fewest_digits:
            yield from cluster


def _is_piece(text: str, run: _Run, joining: Joining) -> bool:
    if _UNIT_AFTER.match(text, run.stop) or _UNIT_BEFORE.search(text[: run.start]):
        return False
    alone = not _FILLERS.sub("", text[: run.start] + text[run.stop :])
    return run.sure >= joining.fewest_of_piece or (alone and run.sure >= 2)


def _without_overlap(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.start, -s.stop)):
        if joined and span.start < joined[-1].stop:
            last = joined.pop()
            joined.append(Span(last.kind, last.start, max(last.stop, span.stop)))
        else:
            joined.append(span)
    return joined
