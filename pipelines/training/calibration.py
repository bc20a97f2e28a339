"""Logits of the dev split -> Platt scaling and thresholds."""

import random
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from models.call import KINDS, Label
from models.classifier import Calibration, Classifier
from pipelines.training.dataset import BadData, Row
from pipelines.training.examples import Pair, as_heard, pair_of
from pipelines.training.measures import THREAT_PRECISION
from pipelines.training.noise import Misheard


def calibration_pairs(rows: Sequence[Row], heard: Mapping[str, Sequence[str]], misheard: Misheard) -> list[Pair]:
    """Every row as it was said, then as a recogniser may give it: calibrated on one alone, it fails on the other."""
    chooser = random.Random(1)
    said = [pair_of(row.text, row.previous) for row in rows]
    shown = as_heard(heard, misheard)
    return said + [shown(row, chooser) for row in rows]


def logits_and_rows(
    served: Classifier, pairs: Sequence[Pair], rows: Sequence[Row]
) -> tuple[NDArray[np.float32], list[Row]]:
    """Of the pairs that `calibration_pairs` made of `rows`."""
    return served.logits([text for text, _ in pairs], [[context] for _, context in pairs]), [*rows, *rows]


def calibrate(logits: NDArray[np.float32], rows: Sequence[Row], precision: float) -> Calibration:
    """`logits`: (rows, OUTPUTS). Thresholds of best F1, for threats among those with `precision` if it can be had.

    None is under one half: a wrong accusation is as bad as a missed one, so a kind holds if that is likelier than not.

    Raises BadData if a kind occurs in none of the rows.
    """
    slope, offset, threshold = {}, {}, {}
    for index, kind in enumerate(KINDS):
        truth = np.array([kind in row.labels for row in rows])
        if truth.all() or not truth.any():
            raise BadData(
                f"{int(truth.sum())} of {len(truth)} dev rows are labelled {kind}: its threshold cannot be chosen; "
                "add rows with and without it"
            )
        fitted = LogisticRegression(C=100).fit(logits[:, [index]], truth)
        slope[kind], offset[kind] = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        scores = 1 / (1 + np.exp(-(slope[kind] * logits[:, index] + offset[kind])))
        threshold[kind] = sure_threshold(kind, truth, scores, precision)
    return Calibration(slope, offset, threshold)


def sure_threshold(
    kind: Label, truth: NDArray[np.bool_], scores: NDArray[np.float64], precision: float = THREAT_PRECISION
) -> float:
    """Of best F1, for threats among those of at least `precision`; never under one half."""
    return max(0.5, best_f1_threshold(truth, scores, precision if kind is Label.THREAT else 0)[0])


def best_f1_threshold(
    truth: NDArray[np.bool_], scores: NDArray[np.float64], precision: float = 0
) -> tuple[float, float]:
    """(threshold, F1), among thresholds of at least `precision` where there are any."""
    precisions, recalls, thresholds = precision_recall_curve(truth, scores)
    f1 = 2 * precisions * recalls / np.maximum(precisions + recalls, 1e-9)
    allowed = precisions[:-1] >= precision
    best = int(np.argmax(np.where(allowed | (not allowed.any()), f1[:-1], -1)))
    return float(thresholds[best]), float(f1[best])
