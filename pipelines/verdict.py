"""Utterances and what people decided -> the call's verdict, and how far two people agree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from models.call import KINDS, Label, Speaker

if TYPE_CHECKING:
    from pipelines.report import UtterancePart


def verdict(utterances: "Iterable[UtterancePart]", decided: Mapping[int, tuple[Label, ...]]) -> tuple[Label, ...]:
    """Kinds of abuse that hold; `decided`: by utterance index, the labels that a person gave it, none: compliant.

    A borrower's words never count. An unknown speaker's count once a person has heard them.
    """
    settled: set[Label] = set()
    for utterance in utterances:
        if utterance.speaker is Speaker.BORROWER:
            continue
        if utterance.index in decided:
            settled.update(decided[utterance.index])
        elif utterance.speaker is Speaker.COLLECTOR and not utterance.needs_review:
            settled.update(utterance.labels)
    return tuple(kind for kind in KINDS if kind in settled)


def kappa(pairs: Sequence[tuple[Label, Label]]) -> float | None:
    """Cohen's: agreement beyond chance, at most 1. None where chance alone would agree always, or without pairs."""
    if not pairs:
        return None
    observed = sum(a == b for a, b in pairs) / len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    expected = sum(first[label] * second[label] for label in first) / len(pairs) ** 2
    return None if expected == 1 else (observed - expected) / (1 - expected)
