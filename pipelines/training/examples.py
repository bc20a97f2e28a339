"""Corpus rows -> what a classifier is shown and what it shall say."""

import random
from collections.abc import Callable, Mapping, Sequence

from models.call import KIND_OF_FORM, KINDS, Form
from models.classifier import COLLECTOR, OUTPUTS, context_of, normalise
from pipelines.training.dataset import Row
from pipelines.training.noise import Misheard, without_marks

Pair = tuple[str, str]  # an utterance, and what was said before it


def pair_of(text: str, previous: Sequence[str]) -> Pair:
    return normalise(text), context_of(previous)


def noisy_pair(row: Row, heard: Sequence[str], misheard: Misheard, chooser: random.Random) -> Pair:
    """The row as a recogniser may give it. `heard`: what the bundled recogniser made of it, if it was tried."""
    text, context = pair_of(row.text, row.previous)
    if heard and chooser.random() < 0.35:
        text = normalise(chooser.choice(heard)) or text
    elif chooser.random() < 0.6:
        text = misheard(text, chooser.uniform(0, 0.3), chooser) or text
    if chooser.random() < 0.3:
        context = misheard(context, chooser.uniform(0, 0.3), chooser)
    if chooser.random() < 0.15:  # an utterance has to be understood alone, too
        context = ""
    if chooser.random() < 0.4:
        text, context = without_marks(text) or text, without_marks(context)
    return text, context


def as_heard(heard: Mapping[str, Sequence[str]], misheard: Misheard) -> Callable[[Row, random.Random], Pair]:
    """A row -> the pair that a model is shown of it, drawn anew each time. `heard`: text -> what was made of it."""
    return lambda row, chooser: noisy_pair(row, heard.get(row.text, ()), misheard, chooser)


def target(row: Row) -> list[float]:
    """One number for each of OUTPUTS."""
    held = {*row.labels, *row.forms, *((COLLECTOR,) if row.speaker == COLLECTOR else ())}
    return [float(name in held) for name in OUTPUTS]


def known(row: Row) -> list[float]:
    """For each of OUTPUTS, 1 where the row tells, 0 where not: a reviewed label may come without its form."""
    told = {KIND_OF_FORM[form] for form in row.forms}
    unsaid = {form for form in Form if KIND_OF_FORM[form] in row.labels and KIND_OF_FORM[form] not in told}
    return [float(name not in unsaid) for name in OUTPUTS]


def weight_of(output: str) -> float:
    """How much an output counts in training: the kinds are what it is for."""
    return 1.0 if output in KINDS else 0.5
