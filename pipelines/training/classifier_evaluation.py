"""A classifier, labelled rows and baselines -> all figures of one evaluation."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.call import KINDS, Form
from models.classifier import Classifier, normalise
from pipelines.training.dataset import BadData, Row, Split, fingerprint
from pipelines.training.keywords import Keywords
from pipelines.training.measures import (
    THREAT_PRECISION,
    Answers,
    Bin,
    Curve,
    Figure,
    Flags,
    Scores,
    Truth,
    Values,
    calibration_error,
    confusion,
    curve,
    macro_f1,
    reliability,
    resampled,
    scores,
)
from pipelines.training.ngrams import NgramRegression
from pipelines.training.noise import Misheard, frequent_characters, in_digits
from pipelines.training.outside import Outside, outside_checks

Labeller = Callable[[Sequence[str], Sequence[Sequence[str]]], Answers]
Watch = Callable[[str], None]  # is told what is done next

MODEL, PREVIOUS, NGRAMS, SURE_NGRAMS, KEYWORDS = "model", "previous model", "n-grams", "n-grams, as sure", "keywords"
CLEAN, HARD, HEARD, READ = "as said", "hard rows, as said", "as recognised", "as said, rows that were recognised"
DIGITS = "numbers in digits"
WORST = 40
_DRAWS = 1_000


def noisy(rate: float) -> str:
    return f"{rate:.0%} of characters wrong"


@dataclass(frozen=True, slots=True)
class Weights:
    """Which model it was; the hash is of the weights alone, so that a card beside them does not change it."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row that is answered wrongly, and how surely."""

    text: str
    previous: tuple[str, ...]
    speaker: str
    scenario: str
    hard: bool
    true: tuple[str, ...]
    found: tuple[str, ...]
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    model: Weights
    previous: Weights | None
    split: str
    rows: int
    scenarios: int
    data_sha256: str
    conditions: dict[str, dict[str, Scores]]  # condition, then labeller
    ahead: dict[str, dict[str, Figure]]  # macro-F1 of the model minus a labeller's, by condition and labeller
    lost: dict[str, Figure]  # macro-F1 as said minus under a condition, on the same rows
    confusion: list[list[int]]
    curves: dict[str, dict[str, Curve]]  # labeller, then kind
    reliability: dict[str, list[Bin]]  # kind
    calibration_errors: dict[str, Figure]  # kind
    mistakes: list[Mistake]
    baselines: dict[str, str]  # labeller: what it is
    outside: list[Outside] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Measuring:
    """What is measured besides the rows as they are."""

    split: Split = "test"
    noise: tuple[float, ...] = (0.1, 0.2)
    seed: int = 0
    draws: int = _DRAWS


@dataclass(frozen=True, slots=True)
class _Condition:
    name: str
    rows: Flags  # which rows of the split
    texts: list[str]
    previous: list[Sequence[str]]


class Served:
    """The classifier as the service runs it."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier

    def __call__(self, texts: Sequence[str], previous: Sequence[Sequence[str]]) -> Answers:
        judged = self._classifier(texts, previous)
        return Answers(
            scores=np.array([[j.scores[kind] for kind in KINDS] for j in judged], float).reshape(-1, len(KINDS)),
            kinds=np.array([[kind in j.labels for kind in KINDS] for j in judged], bool).reshape(-1, len(KINDS)),
            forms=np.array([[form in j.forms for form in Form] for j in judged], bool).reshape(-1, len(Form)),
        )


def evaluate(
    classifier: Classifier,
    rows: Sequence[Row],
    *,
    previous: Classifier | None = None,
    heard: Mapping[str, Sequence[str]] | None = None,
    reference: Path | None = None,
    measuring: Measuring | None = None,
    watch: Watch = lambda done: None,
) -> Evaluation:
    """`rows`: of all splits; the baselines learn from train and dev. `heard`: text -> what a recogniser made of it.

    Raises BadData if the split to measure on is empty, FileNotFoundError naming what the reference folder lacks.
    """
    measuring = measuring or Measuring()
    measured = [row for row in rows if row.split == measuring.split]
    if not measured:
        raise BadData(f"no row is in the split {measuring.split}; give some rows that split, or choose another")
    labellers, about = _labellers(classifier, rows, previous, watch)
    truth = Truth.of(measured)
    conditions = _conditions(measured, rows, heard or {}, measuring)
    answers: dict[str, dict[str, Answers]] = {}
    for condition in conditions:
        watch(f"labelling {condition.name}")
        answers[condition.name] = {n: label(condition.texts, condition.previous) for n, label in labellers.items()}
    hard = np.array([row.hard for row in measured])
    shares = {condition.name: condition.rows for condition in conditions}
    for name, chosen, of in ((HARD, hard, CLEAN), (READ, shares.get(HEARD), CLEAN)):
        if chosen is not None and chosen.any():
            answers[name] = {labeller: said[chosen] for labeller, said in answers[of].items()}
            shares[name] = chosen
    weights = {
        name: resampled([row.scenario for row, c in zip(measured, chosen, strict=True) if c], measuring.draws)
        for name, chosen in shares.items()
    }
    watch("counting")
    said = answers[CLEAN][MODEL]
    return Evaluation(
        model=_weights(classifier),
        previous=_weights(previous) if previous else None,
        split=measuring.split,
        rows=len(measured),
        scenarios=len({row.scenario for row in measured}),
        data_sha256=fingerprint(rows),
        conditions={
            condition: {name: scores(truth[shares[condition]], a, weights[condition]) for name, a in found.items()}
            for condition, found in answers.items()
        },
        ahead={
            condition: {
                name: _difference(truth[shares[condition]], found[MODEL], other, weights[condition])
                for name, other in found.items()
                if name != MODEL
            }
            for condition, found in answers.items()
        },
        lost=_lost(truth, answers, shares, weights),
        confusion=confusion(truth, said),
        curves={
            labeller: {kind.value: curve(truth.kinds[:, i], found.scores[:, i]) for i, kind in enumerate(KINDS)}
            for labeller, found in answers[CLEAN].items()
        },
        reliability={kind.value: reliability(truth.kinds[:, i], said.scores[:, i]) for i, kind in enumerate(KINDS)},
        calibration_errors={
            kind.value: Figure.of(calibration_error(truth.kinds[:, i], said.scores[:, i], weights[CLEAN]))
            for i, kind in enumerate(KINDS)
        },
        mistakes=_mistakes(measured, truth, said),
        baselines=about,
        outside=outside_checks(labellers, reference, watch) if reference else [],
    )


def load(model: str, device: str = "auto", threads: int = 0) -> Classifier:
    """Raises ModelError naming what is wrong with it."""
    return Classifier(model, device=device, threads=threads)


def read_heard(file: Path) -> dict[str, list[str]]:
    """Raises BadData if the file is not JSON of text -> list of texts."""
    try:
        heard = json.loads(file.read_text("utf8"))
    except ValueError as error:
        raise BadData(f"{file} is not JSON: {error}") from error
    if not isinstance(heard, dict) or not all(
        isinstance(variants, list) and all(isinstance(variant, str) for variant in variants)
        for variants in heard.values()
    ):
        raise BadData(f"{file} must map each text to the list of what a recogniser made of it")
    return heard


def _labellers(
    classifier: Classifier, rows: Sequence[Row], previous: Classifier | None, watch: Watch
) -> tuple[dict[str, Labeller], dict[str, str]]:
    labellers: dict[str, Labeller] = {MODEL: Served(classifier)}
    about = {}
    if previous:
        labellers[PREVIOUS] = Served(previous)
        about[PREVIOUS] = f"{previous.weights.name}, version {previous.weights.version}"
    train, dev = ([row for row in rows if row.split == split] for split in ("train", "dev"))
    if len({bool(row.labels) for row in train}) > 1 and dev:
        watch("training the n-gram baseline")
        ngrams = NgramRegression(train, dev)
        labellers[NGRAMS] = ngrams
        about[NGRAMS] = (
            "TF-IDF of 1 to 4 characters, one logistic regression a kind and form, thresholds of best F1 "
            + ("on dev, with the turns before" if ngrams.with_context else "on dev; the turns before did not help it")
        )
        labellers[SURE_NGRAMS] = ngrams.as_sure(dev)
        about[SURE_NGRAMS] = (
            f"the same with thresholds as the model's are chosen: threats at precision {THREAT_PRECISION} on dev, "
            "none under one half"
        )
    keywords = Keywords()
    labellers[KEYWORDS] = keywords
    patterns = sum(len(patterns) for patterns in keywords.patterns.values())
    about[KEYWORDS] = f"a list of {patterns} patterns; it has no probabilities"
    return labellers, about


def _conditions(
    measured: Sequence[Row], rows: Sequence[Row], heard: Mapping[str, Sequence[str]], measuring: Measuring
) -> list[_Condition]:
    every = np.ones(len(measured), bool)
    conditions = [_Condition(CLEAN, every, [row.text for row in measured], [row.previous for row in measured])]
    misheard = Misheard(frequent_characters(normalise(row.text) for row in rows))
    for rate in measuring.noise:
        chooser = random.Random(f"{measuring.seed} {rate}")
        texts = [misheard.exactly(normalise(row.text), rate, chooser) or row.text for row in measured]
        before = [[misheard.exactly(normalise(turn), rate, chooser) for turn in row.previous] for row in measured]
        conditions.append(_Condition(noisy(rate), every, texts, list(before)))
    written = [in_digits(row.text) for row in measured]
    numbers = np.array([text != row.text for text, row in zip(written, measured, strict=True)])
    if numbers.any():
        texts = [text for text, there in zip(written, numbers, strict=True) if there]
        before = [[in_digits(turn) for turn in row.previous] for row, n in zip(measured, numbers, strict=True) if n]
        conditions.append(_Condition(DIGITS, numbers, texts, list(before)))
    chooser = random.Random(measuring.seed)
    found = np.array([any(normalise(variant) for variant in heard.get(row.text, ())) for row in measured])
    if found.any():
        there = [row for row, f in zip(measured, found, strict=True) if f]

        def as_heard(text: str) -> str:
            """A turn of which the recogniser made nothing stands as it was said."""
            return chooser.choice([v for v in heard.get(text, ()) if normalise(v)] or [text])

        texts = [as_heard(row.text) for row in there]
        conditions.append(_Condition(HEARD, found, texts, [[as_heard(turn) for turn in row.previous] for row in there]))
    return conditions


def _difference(truth: Truth, one: Answers, other: Answers, weights: Values) -> Figure:
    """Of macro-F1 on the same draws, which is surer than each by itself."""
    return Figure.of(macro_f1(truth, one, weights) - macro_f1(truth, other, weights))


def _lost(
    truth: Truth,
    answers: Mapping[str, Mapping[str, Answers]],
    shares: Mapping[str, Flags],
    weights: Mapping[str, Values],
) -> dict[str, Figure]:
    lost = {}
    for condition in answers:
        if condition not in (CLEAN, HARD, READ):
            chosen = shares[condition]
            said = answers[CLEAN][MODEL][chosen]
            lost[condition] = _difference(truth[chosen], said, answers[condition][MODEL], weights[condition])
    return lost


def _mistakes(rows: Sequence[Row], truth: Truth, said: Answers) -> list[Mistake]:
    """The most surely wrong first."""
    wrong = truth.kinds != said.kinds
    how_far = np.where(wrong, np.abs(truth.kinds - said.scores), 0).max(1)
    order = [int(i) for i in np.argsort(-how_far, kind="stable") if wrong[i].any()][:WORST]
    return [
        Mistake(
            text=rows[i].text,
            previous=rows[i].previous,
            speaker=rows[i].speaker,
            scenario=rows[i].scenario,
            hard=rows[i].hard,
            true=tuple(label.value for label in rows[i].labels),
            found=tuple(kind.value for kind, held in zip(KINDS, said.kinds[i], strict=True) if held),
            probabilities={kind.value: round(float(p), 4) for kind, p in zip(KINDS, said.scores[i], strict=True)},
        )
        for i in order
    ]


def _weights(classifier: Classifier) -> Weights:
    weights = classifier.weights
    return Weights(weights.name, weights.version, classifier.weights_sha256)
