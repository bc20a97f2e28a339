"""Text -> the characters that are compared: simplified, numbers as spoken, without marks, spaces and case."""

import unicodedata
from collections import Counter

from models.simplified import simplified
from models.spoken_numbers import spoken_numbers

_TRIPLE = 3


def characters(text: str) -> str:
    plain = spoken_numbers(simplified(unicodedata.normalize("NFKC", text)))
    plain = plain.replace("幺", "一")  # both are one, the first in telephone numbers
    return "".join(c for c in plain if unicodedata.category(c)[0] in "LN").lower()


def repetition(text: str) -> float:
    """Share of the text's character triples that occurred before in it; 0 for a text of less than two triples."""
    plain = characters(text)
    triples = Counter(plain[at : at + _TRIPLE] for at in range(len(plain) - _TRIPLE + 1))
    total = triples.total()
    return 1 - len(triples) / total if total > 1 else 0.0
