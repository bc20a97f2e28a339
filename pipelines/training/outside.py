"""Texts that nobody wrote for this project -> how the labellers do on them, without having learned from them."""

import csv
import gzip
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from scipy.special import logit
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models.call import KINDS, Label
from pipelines.training.measures import Answers, Figure, Flags, area_under_roc, average_precision
from pipelines.training.texts import dialogue, held_out, insults

Labeller = Callable[[Sequence[str], Sequence[Sequence[str]]], Answers]

ORDINARY = ("kdconv", "crosswoz", "lccc-toy", "teleantifraud-normal")
_ORDINARY_ROWS = 2_000  # of each source
_DRAWS = 1_000
_INSULT, _THREAT, _THIRD = (KINDS.index(k) for k in (Label.INSULT, Label.THREAT, Label.THIRD_PARTY_CONTACT))


@dataclass(frozen=True, slots=True)
class Outside:
    """Figures of each labeller on one set."""

    name: str
    rows: int
    about: str
    figures: dict[str, dict[str, Figure]]  # labeller, then what is measured


def outside_checks(labellers: Mapping[str, Labeller], reference: Path, watch: Callable[[str], None]) -> list[Outside]:
    """Raises FileNotFoundError naming what the folder of reference data lacks."""
    checks = []
    watch("labelling COLD")
    texts, offensive = _cold(reference, "test")
    posts, known = _cold(reference, "train")
    said = {name: _alone(label, texts) for name, label in labellers.items()}
    of_posts = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    ngrams = of_posts.fit_transform(posts), of_posts.transform(texts)
    checks.append(
        Outside(
            "COLD, official test",
            len(texts),
            "posts of social media, offensive or not, mostly against groups; insult is what comes nearest to it",
            {name: _insult_or_not(offensive, answers) for name, answers in said.items()},
        )
    )
    watch("learning from COLD")
    checks.append(
        Outside(
            "COLD, official test, its training split learnt",
            len(texts),
            "one regression over the posts' n-grams of one and two characters and what each labeller says of them",
            {
                name: _insult_or_not(offensive, _learnt(ngrams, (_alone(label, posts), said[name]), known))
                for name, label in labellers.items()
            },
        )
    )
    watch("labelling insults")
    mean = [text for text in insults(reference) if held_out(text, 2)]
    checks.append(
        Outside(
            "insults of zuanbot, half held out",
            len(mean),
            "showy insults from the internet, all in the second person",
            {
                name: {"found as insult": _rate(_alone(label, mean).kinds[:, _INSULT])}
                for name, label in labellers.items()
            },
        )
    )
    for source, pairs in _ordinary(reference).items():
        watch(f"labelling {source}")
        said = {
            name: label([t for t, _ in pairs], [(p,) if p else () for _, p in pairs])
            for name, label in labellers.items()
        }
        checks.append(
            Outside(
                f"ordinary talk, {source}",
                len(pairs),
                "nobody collects a debt here: all that is flagged is wrong",
                {name: _flagged(found) for name, found in said.items()},
            )
        )
    return checks


def _cold(reference: Path, split: str) -> tuple[list[str], Flags]:
    file = reference / "text" / "cold" / f"{split}.csv.gz"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: --reference must name the folder of reference data")
    with gzip.open(file, "rt", encoding="utf-8-sig") as table:
        rows = [(row["TEXT"].strip(), row["label"] == "1") for row in csv.DictReader(table)]
    rows = [(text, offensive) for text, offensive in rows if text]
    return [text for text, _ in rows], np.array([offensive for _, offensive in rows])


def _ordinary(reference: Path) -> dict[str, list[tuple[str, str]]]:
    """What was held out of training, a sample of each source; repeated words count once."""
    found: dict[str, dict[tuple[str, str], None]] = {source: {} for source in ORDINARY}
    for source, text, before in dialogue(reference):
        if source in found and held_out(text):
            found[source][text, before] = None
    chooser = random.Random(0)
    return {source: chooser.sample(list(pairs), min(_ORDINARY_ROWS, len(pairs))) for source, pairs in found.items()}


def _alone(label: Labeller, texts: Sequence[str]) -> Answers:
    return label(texts, [()] * len(texts))


def _learnt(ngrams: tuple[csr_matrix, csr_matrix], said: tuple[Answers, Answers], offensive: Flags) -> Answers:
    """Insult or not, by what the first of each pair teaches, which is `offensive` or not, of the second."""
    posts, asked = (
        hstack([words, logit(answers.scores.clip(1e-4, 1 - 1e-4)) / 4]).tocsr()
        for words, answers in zip(ngrams, said, strict=True)
    )
    regression = LogisticRegression(C=4, solver="liblinear").fit(posts, offensive)
    scores = np.zeros((asked.shape[0], len(KINDS)))
    scores[:, _INSULT] = regression.predict_proba(asked)[:, 1]
    return Answers(scores=scores, kinds=scores >= 0.5, forms=np.zeros((len(scores), 0), bool))


def _insult_or_not(offensive: Flags, found: Answers) -> dict[str, Figure]:
    said, score = found.kinds[:, _INSULT], found.scores[:, _INSULT]
    draws = _draws(len(offensive))
    weights = np.stack([np.bincount(d, minlength=len(offensive)) for d in draws[:201]]).astype(np.float64)

    def over(value: Callable[[Flags, Flags], float]) -> Figure:
        return Figure.of(np.array([value(offensive[d], said[d]) for d in draws]))

    return {
        "precision": over(lambda t, s: (t & s).sum() / max(1, s.sum())),
        "recall": over(lambda t, s: (t & s).sum() / max(1, t.sum())),
        "F1": over(lambda t, s: 2 * (t & s).sum() / max(1, t.sum() + s.sum())),
        "accuracy": over(lambda t, s: (t == s).mean()),
        "area under ROC": Figure.of(area_under_roc(offensive, score, weights)),
        "average precision": Figure.of(average_precision(offensive, score, weights)),
    }


def _flagged(found: Answers) -> dict[str, Figure]:
    return {
        "flagged as threat": _rate(found.kinds[:, _THREAT]),
        "flagged as insult": _rate(found.kinds[:, _INSULT]),
        "flagged as third-party contact": _rate(found.kinds[:, _THIRD]),
    }


def _rate(flags: Flags) -> Figure:
    """With the exact interval: resampling says of none among two thousand that there are none at all."""
    interval = binomtest(int(flags.sum()), len(flags)).proportion_ci(method="exact")
    return Figure(float(flags.mean()), float(interval.low), float(interval.high))


def _draws(rows: int) -> list[NDArray[np.int64]]:
    """Indices of the sample, then of samples drawn from it."""
    chance = np.random.default_rng(0)
    return [np.arange(rows), *(chance.integers(0, rows, rows) for _ in range(_DRAWS))]
