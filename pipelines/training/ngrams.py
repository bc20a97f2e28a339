"""Corpus -> TF-IDF of character n-grams with logistic regression: the baseline that needs no encoder."""

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models.call import KIND_OF_FORM, KINDS, Form
from pipelines.training.calibration import best_f1_threshold, sure_threshold
from pipelines.training.dataset import Row
from pipelines.training.examples import Pair, pair_of
from pipelines.training.measures import Answers, Flags, Truth, Values


class NgramRegression:
    """One regression a kind and form, over the text and, if dev says that it helps, over the turns before it."""

    def __init__(self, train: Sequence[Row], dev: Sequence[Row], seed: int = 0) -> None:
        self._of_text = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True)
        self._of_context = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
        shown, asked = ([pair_of(row.text, row.previous) for row in rows] for rows in (train, dev))
        self._of_text.fit([text for text, _ in shown])
        self._of_context.fit([context for _, context in shown])
        truth, wanted = Truth.of(train), Truth.of(dev)
        tried = []
        for with_context in (False, True):
            features, questions = self._features(shown, with_context), self._features(asked, with_context)
            regressions = _fitted(features, truth.kinds, seed)
            best = _thresholds(wanted.kinds, _probabilities(regressions, questions))
            tried.append((float(np.mean([f1 for _, f1 in best])), with_context, regressions, best))
        _, self.with_context, kinds, best_of_kinds = max(tried, key=lambda one: one[0])
        self._regressions = kinds + _fitted(self._features(shown, self.with_context), truth.forms, seed)
        of_forms = _probabilities(self._regressions[len(KINDS) :], self._features(asked, self.with_context))
        self._thresholds = np.array([t for t, _ in best_of_kinds + _thresholds(wanted.forms, of_forms)])

    def __call__(self, texts: Sequence[str], previous: Sequence[Sequence[str]]) -> Answers:
        scores = self._scores(list(zip(texts, previous, strict=True)))
        over = scores >= self._thresholds
        kinds = over[:, : len(KINDS)]
        # A form needs its kind, as in the model under test.
        allowed = kinds[:, [KINDS.index(KIND_OF_FORM[form]) for form in Form]]
        return Answers(scores=scores[:, : len(KINDS)], kinds=kinds, forms=over[:, len(KINDS) :] & allowed)

    def as_sure(self, dev: Sequence[Row]) -> "NgramRegression":
        """The same regressions, with thresholds by the rule that the model under test has to keep."""
        truth, scores = Truth.of(dev).kinds, self._scores([(row.text, row.previous) for row in dev])
        sure = [sure_threshold(kind, truth[:, i], scores[:, i]) for i, kind in enumerate(KINDS)]
        other = copy(self)
        other._thresholds = np.array([*sure, *self._thresholds[len(KINDS) :]])
        return other

    def _scores(self, said: Sequence[tuple[str, Sequence[str]]]) -> Values:
        pairs = [pair_of(text, turns) for text, turns in said]
        return _probabilities(self._regressions, self._features(pairs, self.with_context))

    def _features(self, pairs: Sequence[Pair], with_context: bool) -> csr_matrix:
        of_text = self._of_text.transform([text for text, _ in pairs])
        if not with_context:
            return of_text
        # Half the weight: what was said before hints, the utterance itself decides.
        return hstack([of_text, 0.5 * self._of_context.transform([context for _, context in pairs])]).tocsr()


class _Never:
    """Of a kind or form that no row to learn from has."""

    def predict_proba(self, features: csr_matrix) -> Values:
        return np.tile([1.0, 0.0], (features.shape[0], 1))


def _fitted(features: csr_matrix, truth: Flags, seed: int) -> list[LogisticRegression | _Never]:
    return [
        LogisticRegression(C=20, solver="liblinear", random_state=seed).fit(features, column)
        if column.any()
        else _Never()
        for column in truth.T
    ]


def _probabilities(regressions: Sequence[LogisticRegression | _Never], features: csr_matrix) -> Values:
    return np.stack([regression.predict_proba(features)[:, 1] for regression in regressions], axis=1)


def _thresholds(truth: NDArray[np.bool_], scores: Values) -> list[tuple[float, float]]:
    """(threshold, F1) of each column; one that dev does not have holds from one half."""
    return [
        best_f1_threshold(column, score) if column.any() else (0.5, 0.0)
        for column, score in zip(truth.T, scores.T, strict=True)
    ]
