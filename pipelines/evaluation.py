"""Truth and reports -> figures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from models.call import KINDS, Label
from pipelines.report import Report, UtterancePart

Pair = tuple[set[Label], set[Label]]  # true and found kinds of one utterance; none: compliant


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance as it truly was; times in seconds."""

    start: float
    end: float
    text: str
    labels: tuple[Label, ...]


def spoken(rows: Iterable[Mapping[str, Any]]) -> list[Spoken]:
    return [Spoken(r["start"], r["end"], r["text"], tuple(Label(label) for label in r["labels"])) for r in rows]


def matched(said: Sequence[Spoken], report: Report) -> list[Pair]:
    """Every true utterance with the found one that overlaps it most; a flagged one that overlaps none is false."""
    pairs: list[Pair] = []
    used: set[int] = set()
    for true in said:
        nearest = max(report.utterances, key=lambda u: _overlap(true, u), default=None)
        if nearest is None or _overlap(true, nearest) <= 0:
            pairs.append((set(true.labels), set()))
            continue
        used.add(nearest.index)
        pairs.append((set(true.labels), set(nearest.labels)))
    pairs += [(set(), set(u.labels)) for u in report.utterances if u.labels and u.index not in used]
    return pairs


def macro_f1(pairs: Sequence[Pair]) -> float:
    """Mean F1 of the three kinds and of compliant."""
    return fmean(f1(pairs, label) for label in Label)


def f1(pairs: Sequence[Pair], label: Label) -> float:
    """1.0 where the label neither was there nor was found."""
    outcomes = [(_holds(true, label), _holds(found, label)) for true, found in pairs]
    hits = sum(true and found for true, found in outcomes)
    wrong = sum(true != found for true, found in outcomes)
    return 2 * hits / (2 * hits + wrong) if hits or wrong else 1.0


def _holds(kinds: set[Label], label: Label) -> bool:
    return label in kinds if label in KINDS else not kinds


def _overlap(true: Spoken, found: UtterancePart) -> float:
    return min(true.end, found.end) - max(true.start, found.start)
