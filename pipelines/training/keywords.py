"""Texts -> labels by a list of words: the baseline that call audits start from."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.call import KIND_OF_FORM, KINDS, Form
from models.classifier import normalise
from pipelines.training.measures import Answers

_LIST = Path(__file__).parent / "keywords.toml"


class Keywords:
    """A kind holds where any pattern of one of its forms is found; what was said before does not matter."""

    def __init__(self) -> None:
        self.patterns = {Form(form): patterns for form, patterns in tomllib.loads(_LIST.read_text("utf8")).items()}
        self._compiled = {form: [re.compile(p) for p in patterns] for form, patterns in self.patterns.items()}

    def __call__(self, texts: Sequence[str], previous: Sequence[Sequence[str]]) -> Answers:
        hits = np.array([self._hits(normalise(text)) for text in texts], float).reshape(-1, len(Form))
        by_kind = np.stack([hits[:, [KIND_OF_FORM[form] is kind for form in Form]].sum(1) for kind in KINDS], axis=1)
        return Answers(scores=by_kind / (1 + by_kind), kinds=by_kind > 0, forms=hits > 0)

    def _hits(self, text: str) -> list[int]:
        return [sum(bool(pattern.search(text)) for pattern in self._compiled[form]) for form in Form]
