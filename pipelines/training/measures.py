"""Truth and answers -> figures, each with the interval that resampling whole scenarios gives.

Every measure takes weights (draws, rows) and gives one value a draw; the first draw is the sample as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from models.call import KINDS, Form, Label
from pipelines.training.dataset import Row

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]

BINS = 10  # of equal width, for calibration
_THREAT = KINDS.index(Label.THREAT)
THREAT_PRECISION = 0.95  # asked of what is found to be one


@dataclass(frozen=True, slots=True)
class Truth:
    kinds: Flags  # (rows, KINDS)
    forms: Flags  # (rows, Form)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Truth":
        return cls(
            np.array([[kind in row.labels for kind in KINDS] for row in rows], bool).reshape(-1, len(KINDS)),
            np.array([[form in row.forms for form in Form] for row in rows], bool).reshape(-1, len(Form)),
        )

    def __getitem__(self, chosen: Flags) -> "Truth":
        return Truth(self.kinds[chosen], self.forms[chosen])


@dataclass(frozen=True, slots=True)
class Answers:
    """What a labeller says of as many texts as there are rows."""

    scores: Values  # (rows, KINDS): in 0..1, higher is surer
    kinds: Flags
    forms: Flags

    def __getitem__(self, chosen: Flags) -> "Answers":
        return Answers(self.scores[chosen], self.kinds[chosen], self.forms[chosen])


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Values) -> "Figure":
        drawn = values[1:][~np.isnan(values[1:])]
        low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
        return cls(float(values[0]), float(low), float(high))


@dataclass(frozen=True, slots=True)
class LabelScores:
    rows: int  # that truly have the label
    precision: Figure
    recall: Figure
    f1: Figure


@dataclass(frozen=True, slots=True)
class Scores:
    rows: int
    labels: dict[Label, LabelScores]
    macro_f1: Figure  # of the three kinds and compliant
    macro_f1_of_kinds: Figure
    exact_match: Figure  # all three kinds right
    forms_macro_f1: Figure
    threat_recall: Figure  # the best that any threshold gives at precision 0.95
    calibration_error: Figure  # expected, of the three probabilities together


@dataclass(frozen=True, slots=True)
class Curve:
    precision: list[float]
    recall: list[float]


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of like probability, and how often they are right."""

    answers: int
    probability: float
    true: float


def resampled(scenarios: Sequence[str], draws: int, seed: int = 0) -> Values:
    """Weights (1 + draws, rows): rows of a scenario stand or fall together, since they are alike."""
    names, owner = np.unique(np.array(scenarios), return_inverse=True)
    chance = np.random.default_rng(seed)
    times = chance.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.vstack([np.ones(len(owner)), times[:, owner]]).astype(np.float64)


def scores(truth: Truth, found: Answers, weights: Values) -> Scores:
    labels = {}
    true, said = _with_compliant(truth.kinds), _with_compliant(found.kinds)
    hits = weights @ (true & said)
    for index, label in enumerate((*KINDS, Label.COMPLIANT)):
        labels[label] = LabelScores(
            rows=int(true[:, index].sum()),
            precision=Figure.of(_share(hits[:, index], weights @ said[:, index])),
            recall=Figure.of(_share(hits[:, index], weights @ true[:, index])),
            f1=Figure.of(_f1(true, said, weights)[:, index]),
        )
    return Scores(
        rows=len(truth.kinds),
        labels=labels,
        macro_f1=Figure.of(macro_f1(truth, found, weights)),
        macro_f1_of_kinds=Figure.of(_mean(_f1(truth.kinds, found.kinds, weights))),
        exact_match=Figure.of(_share(weights @ (truth.kinds == found.kinds).all(1), weights.sum(1))),
        forms_macro_f1=Figure.of(_mean(_f1(truth.forms, found.forms, weights)[:, truth.forms.any(0)])),
        threat_recall=Figure.of(recall_at_precision(truth.kinds[:, _THREAT], found.scores[:, _THREAT], weights)),
        calibration_error=Figure.of(calibration_error(truth.kinds.ravel(), found.scores.ravel(), weights.repeat(3, 1))),
    )


def macro_f1(truth: Truth, found: Answers, weights: Values) -> Values:
    """Mean F1 of the three kinds and of compliant; labels that neither are nor are found in a draw do not count."""
    return _mean(_f1(_with_compliant(truth.kinds), _with_compliant(found.kinds), weights))


def recall_at_precision(true: Flags, score: Values, weights: Values, wanted: float = THREAT_PRECISION) -> Values:
    """The best recall that a threshold gives with precision `wanted` or more; 0 where none does."""
    hits, taken = _above(true, score, weights)
    precision, recall = _share(hits, taken), _share(hits, hits[:, -1:])
    best: Values = np.where(precision >= wanted, np.nan_to_num(recall), 0).max(axis=1, initial=0)
    return best


def average_precision(true: Flags, score: Values, weights: Values) -> Values:
    """Precision at each threshold, weighted by the recall it adds; not a number where nothing is true."""
    hits, taken = _above(true, score, weights)
    added = np.diff(_share(hits, hits[:, -1:]), axis=1, prepend=0)
    average: Values = (np.nan_to_num(_share(hits, taken)) * added).sum(axis=1)
    return average


def area_under_roc(true: Flags, score: Values, weights: Values) -> Values:
    """How often something true has the higher score than something that is not; not a number where either lacks."""
    hits, taken = _above(true, score, weights)
    others = taken - hits
    middle = hits - np.diff(hits, axis=1, prepend=0) / 2  # ties count half
    return _share((middle * np.diff(others, axis=1, prepend=0)).sum(axis=1), hits[:, -1] * others[:, -1])


def calibration_error(true: Flags, score: Values, weights: Values) -> Values:
    """Mean distance of probability and truth over bins of equal width, weighted by their answers."""
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    member = bins[:, None] == np.arange(BINS)
    gap = np.abs(weights @ (member * (true - score)[:, None]))
    error: Values = gap.sum(1) / weights.sum(1)
    return error


def reliability(true: Flags, score: Values) -> list[Bin]:
    bins = np.minimum((score * BINS).astype(int), BINS - 1)
    chosen = [bins == i for i in range(BINS)]
    return [Bin(int(c.sum()), float(score[c].mean()), float(true[c].mean())) for c in chosen if c.any()]


def curve(true: Flags, score: Values, points: int = 200) -> Curve:
    precision, recall, _ = precision_recall_curve(true, score)
    kept = np.unique(np.linspace(0, len(precision) - 1, min(points, len(precision))).astype(int))
    return Curve([float(p) for p in precision[kept]], [float(r) for r in recall[kept]])


def confusion(truth: Truth, found: Answers) -> list[list[int]]:
    """Rows: the true label; columns: the primary label found; both in the order of KINDS, then compliant.

    A row with several kinds counts as the one that was found, if it is among them.
    """
    table = np.zeros((4, 4), int)
    for true, said, score in zip(truth.kinds, found.kinds, found.scores, strict=True):
        primary = int(np.argmax(np.where(said, score, -1))) if said.any() else len(KINDS)
        right = primary < len(KINDS) and true[primary]
        actual = primary if right else int(np.argmax(true)) if true.any() else len(KINDS)
        table[actual, primary] += 1
    return [[int(cell) for cell in line] for line in table]


def _above(true: Flags, score: Values, weights: Values) -> tuple[Values, Values]:
    """Weight of what is true, and of all, at or above each distinct score, from the highest; (draws, scores)."""
    order = np.argsort(-score, kind="stable")
    last_of_ties = np.append(np.diff(score[order]) != 0, True) if len(order) else np.zeros(0, bool)
    drawn = weights[:, order]
    return np.cumsum(drawn * true[order], axis=1)[:, last_of_ties], np.cumsum(drawn, axis=1)[:, last_of_ties]


def _with_compliant(kinds: Flags) -> Flags:
    return np.column_stack([kinds, ~kinds.any(1)])


def _f1(true: Flags, said: Flags, weights: Values) -> Values:
    """(draws, columns); not a number where a column neither is nor is found."""
    hits, wrong = weights @ (true & said), weights @ (true ^ said)
    return _share(2 * hits, 2 * hits + wrong)


def _share(part: Values, whole: Values) -> Values:
    shares: Values = np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole > 0)
    return shares


def _mean(values: Values) -> Values:
    """Over the columns that are numbers."""
    counted = ~np.isnan(values)
    return _share(np.where(counted, values, 0).sum(1), counted.sum(1).astype(np.float64))
