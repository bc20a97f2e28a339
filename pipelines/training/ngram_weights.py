"""Corpus rows -> the n-grams that stand beside a small encoder: which, and how much each and all of them weigh."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from models.call import Form
from models.classifier import OUTPUTS, Classifier
from models.ngrams import CONTEXT_WEIGHT, Floats, Ngrams, features, tf_idf
from pipelines.training.calibration import best_f1_threshold, logits_and_rows
from pipelines.training.dataset import Row
from pipelines.training.examples import Pair, pair_of, target
from pipelines.training.noise import coarse, syllable

_LEAST_ROWS = 4  # that have a feature
_KEPT = 160_000  # features, those that move a logit most
_INVERSE_REGULARISATION = 20.0
_FORMS = frozenset(form.value for form in Form)
_LEAST_POSITIVES = 20  # on dev, to weigh encoder and n-grams against each other for one output alone


def fit_ngrams(pairs: Sequence[Pair], rows: Sequence[Row], seed: int = 0) -> Ngrams:
    """`pairs`: what is shown of each of `rows`, clean or noisy. They do not count yet: see `weighed`."""
    sounds = {c: coarse(syllable(c)) for c in sorted(set("".join(a + b for a, b in pairs))) if "一" <= c <= "鿿"}
    hashed = [features(text, context, sounds) for text, context in pairs]
    known, rarity = _vocabulary([{*of_text, *of_context} for of_text, of_context in hashed])
    of_text, of_context = (_table([found[part] for found in hashed], known, rarity) for part in (0, 1))
    table = of_text + CONTEXT_WEIGHT * of_context
    wanted = np.array([target(row) for row in rows], bool)
    weights, intercept = np.zeros((len(known), len(OUTPUTS)), np.float32), np.zeros(len(OUTPUTS), np.float32)
    for index in np.flatnonzero(wanted.any(axis=0) & ~wanted.all(axis=0)):
        fitted = LogisticRegression(C=_INVERSE_REGULARISATION, solver="liblinear", random_state=seed)
        fitted.fit(table, wanted[:, index])
        weights[:, index], intercept[index] = fitted.coef_[0], fitted.intercept_[0]
    kept = np.sort(np.argsort(-(np.abs(weights) * rarity[:, None]).max(axis=1))[:_KEPT])
    alone = np.array([[1.0], [0.0], [0.0]], np.float32) * np.ones(len(OUTPUTS), np.float32)
    return Ngrams(known[kept], rarity[kept], weights[kept], intercept, sounds, alone)


def weighed(ngrams: Ngrams, encoder: Floats, rows: Sequence[Row], pairs: Sequence[Pair]) -> Ngrams:
    """With the blend that fits dev best. `encoder`: its logits (pairs, outputs) without n-grams; `rows`: of the pairs.

    An output that dev has too few of gets the mean blend of the others. A form has no probability of its own: it
    holds over 0, which is put where dev's F1 is best.
    """
    own = ngrams(pairs)
    wanted = np.array([target(row) for row in rows], bool)
    blend = np.zeros((3, len(OUTPUTS)), np.float32)
    often = [i for i in range(len(OUTPUTS)) if _LEAST_POSITIVES <= wanted[:, i].sum() <= len(rows) - _LEAST_POSITIVES]
    for index in often:
        both = np.stack([encoder[:, index], own[:, index]], axis=1)
        fitted = LogisticRegression(C=100).fit(both, wanted[:, index])
        blend[:, index] = [*np.maximum(fitted.coef_[0], 0), fitted.intercept_[0]]
        if OUTPUTS[index] in _FORMS:
            together = both @ blend[:2, index] + blend[2, index]
            blend[2, index] -= best_f1_threshold(wanted[:, index], together)[0]
    rare = [i for i in range(len(OUTPUTS)) if i not in often]
    blend[:, rare] = blend[:, often].mean(axis=1, keepdims=True) if often else [[0.5], [0.5], [0.0]]
    return replace(ngrams, blend=blend)


def beside(
    rows: Sequence[Row],
    shown: Callable[[Row, random.Random], Pair],
    asked: Sequence[Pair],
    dev: Sequence[Row],
    seed: int,
) -> Callable[[Classifier], Ngrams]:
    """What `export` asks for. `shown`: a training row as a recogniser may give it; `asked`: pairs of the `dev` rows."""

    def fitted(encoder: Classifier) -> Ngrams:
        chooser = random.Random(seed)
        pairs = [pair_of(row.text, row.previous) for row in rows] + [shown(row, chooser) for row in rows]
        return weighed(fit_ngrams(pairs, [*rows, *rows], seed), *logits_and_rows(encoder, asked, dev), asked)

    return fitted


def _vocabulary(sets: Sequence[set[int]]) -> tuple[NDArray[np.uint32], Floats]:
    """Features of at least so many rows in ascending order, and how rare each is."""
    counts = Counter(feature for found in sets for feature in found)
    known = np.array(sorted(feature for feature, rows in counts.items() if rows >= _LEAST_ROWS), np.uint32)
    rows_with = np.array([counts[int(feature)] for feature in known])
    return known, (np.log((1 + len(sets)) / (1 + rows_with)) + 1).astype(np.float32)


def _table(hashed: Sequence[Sequence[int]], known: NDArray[np.uint32], rarity: Floats) -> csr_matrix:
    row, places, values = tf_idf(hashed, known, rarity)
    return csr_matrix((values, (row, places)), shape=(len(hashed), len(known)))
