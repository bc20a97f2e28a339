"""Corpus -> TF-IDF of character n-grams with logistic regression: the baseline that needs no encoder."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models.call import KIND_OF_FORM, KINDS, Form
from pipelines.training.calibration import best_f1_threshold
from pipelines.training.dataset import Row
from pipelines.training.examples import pair_of
from pipelines.training.measures import Answers, Truth


class NgramRegression:
    """One regression a kind and form, over the text and, if dev says that it helps, over the turns before it."""

    def __init__(self, train: Sequence[Row], dev: Sequence[Row], seed: int = 0) -> None:
        candidates = [_Fitted(train, dev, with_context, seed) for with_context in (False, True)]
        self._best = max(candidates, key=lambda fitted: fitted.dev_f1)
        self.with_context = self._best.with_context

    def __call__(self, texts: Sequence[str], previous: Sequence[Sequence[str]]) -> Answers:
        scores = self._best.scores(texts, previous)
        over = scores >= self._best.thresholds
        kinds = over[:, : len(KINDS)]
        # A form needs its kind, as in the model under test.
        allowed = kinds[:, [KINDS.index(KIND_OF_FORM[form]) for form in Form]]
        return Answers(scores=scores[:, : len(KINDS)], kinds=kinds, forms=over[:, len(KINDS) :] & allowed)


class _Fitted:
    def __init__(self, train: Sequence[Row], dev: Sequence[Row], with_context: bool, seed: int) -> None:
        self.with_context = with_context
        self._of_text = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True)
        self._of_context = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
        pairs = [pair_of(row.text, row.previous) for row in train]
        self._of_text.fit([text for text, _ in pairs])
        self._of_context.fit([context for _, context in pairs])
        features = self._features([row.text for row in train], [row.previous for row in train])
        wanted = _targets(train)
        self._regressions = [
            LogisticRegression(C=20, solver="liblinear", random_state=seed).fit(features, column) for column in wanted.T
        ]
        found = self.scores([row.text for row in dev], [row.previous for row in dev])
        best = [best_f1_threshold(column, score) for column, score in zip(_targets(dev).T, found.T, strict=True)]
        self.thresholds = np.array([threshold for threshold, _ in best])
        self.dev_f1 = float(np.mean([f1 for _, f1 in best[: len(KINDS)]]))

    def scores(self, texts: Sequence[str], previous: Sequence[Sequence[str]]) -> np.ndarray[tuple[int, int]]:
        """(rows, KINDS and forms), probabilities."""
        features = self._features(texts, previous)
        return np.stack([regression.predict_proba(features)[:, 1] for regression in self._regressions], axis=1)

    def _features(self, texts: Sequence[str], previous: Sequence[Sequence[str]]) -> csr_matrix:
        pairs = [pair_of(text, turns) for text, turns in zip(texts, previous, strict=True)]
        of_text = self._of_text.transform([text for text, _ in pairs])
        if not self.with_context:
            return of_text
        # Half the weight: what was said before hints, the utterance itself decides.
        return hstack([of_text, 0.5 * self._of_context.transform([context for _, context in pairs])]).tocsr()


def _targets(rows: Sequence[Row]) -> np.ndarray[tuple[int, int]]:
    truth = Truth.of(rows)
    return np.hstack([truth.kinds, truth.forms])
