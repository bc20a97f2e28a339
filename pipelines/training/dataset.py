"""Corpus files -> rows to train and measure with."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.call import Form, Label

CORPUS = Path(__file__).parent / "corpus"

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled utterance; `previous` holds the turns before it, oldest first."""

    scenario: str
    split: Split
    speaker: str  # collector, borrower or third_party
    text: str
    previous: tuple[str, ...]
    labels: tuple[Label, ...]
    forms: tuple[Form, ...]
    hard: bool
    source: str


def read_rows(files: Iterable[Path]) -> list[Row]:
    """Rows of .jsonl files. Raises ValueError naming the file and line of a row that is not one."""
    rows = []
    for file in files:
        for number, line in enumerate(file.read_text("utf8").splitlines(), 1):
            try:
                fields = json.loads(line)
                rows.append(
                    Row(
                        scenario=fields["scenario"],
                        split=fields["split"],
                        speaker=fields["speaker"],
                        text=fields["text"],
                        previous=tuple(fields["previous"]),
                        labels=tuple(Label(label) for label in fields["labels"]),
                        forms=tuple(Form(form) for form in fields["forms"]),
                        hard=fields["hard"],
                        source=fields["source"],
                    )
                )
            except (KeyError, ValueError, TypeError) as error:
                raise ValueError(f"{file}, line {number}: not a corpus row ({error!r})") from error
    return rows
