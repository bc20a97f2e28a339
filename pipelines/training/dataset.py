"""Corpus files -> rows to train and measure with; as a command, how many there are of what."""

import argparse
import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from models.call import KIND_OF_FORM, KINDS, Form, Label

CORPUS = Path(__file__).parent / "corpus"
_CARD = CORPUS / "README.md"
_BEGIN, _END = "<!-- counts -->\n", "<!-- end of counts -->\n"

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class BadData(ValueError):
    """Rows that cannot be trained or measured with; names the place and what to change."""


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
    """Rows of .jsonl files. Raises BadData naming the file and line of a row that is not one."""
    rows = []
    for file in files:
        try:
            lines = file.read_text("utf8").splitlines()
        except UnicodeDecodeError as error:
            raise BadData(f"{file} is not text in UTF-8: {error}") from error
        for number, line in enumerate(lines, 1):
            try:
                rows.append(_row(json.loads(line)))
            except (KeyError, ValueError, TypeError) as error:
                why = f"lacks {error}" if isinstance(error, KeyError) else error
                raise BadData(f"{file}, line {number}: not a labelled utterance: {why}") from error
    return rows


def read_folder(folder: Path) -> list[Row]:
    """Rows of all .jsonl files in a folder. Raises BadData if there are none."""
    files = sorted(folder.glob("*.jsonl"))
    rows = read_rows(files)
    if not rows:
        raise BadData(f"{folder} holds no labelled utterances: it needs .jsonl files of rows as in {_CARD.name}")
    return rows


def with_dev(rows: Sequence[Row]) -> list[Row]:
    """Where nothing is set apart for calibration, one scenario in ten is: which, depends on its name alone."""
    if any(row.split == "dev" for row in rows):
        return list(rows)
    return [replace(row, split="dev") if _tenth(row) and row.split == "train" else row for row in rows]


def fingerprint(rows: Iterable[Row]) -> str:
    """SHA-256 over all that the rows say, in order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()


def counts(rows: Sequence[Row]) -> str:
    """A Markdown table: what there is of each label and form, by split."""
    by_split = [[row for row in rows if row.split == split] for split in SPLITS]
    lines = ["| | train | dev | test | all |", "|---|---|---|---|---|"]

    def add(name: str, cells: Sequence[str | int]) -> None:
        lines.append(f"| {name} | " + " | ".join(str(cell) for cell in cells) + " |")

    for name, test in _COUNTED.items():
        found = [sum(test(row) for row in part) for part in by_split]
        add(name, [*found, sum(found)])
    scenarios = [len({row.scenario for row in part}) for part in by_split]
    add("scenarios and rules", [*scenarios, sum(scenarios)])
    return "\n".join(lines) + "\n"


def _row(fields: dict[str, Any]) -> Row:
    labels = tuple(Label(label) for label in fields["labels"])
    forms = tuple(Form(form) for form in fields["forms"])
    text = fields["text"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError("its text is empty")
    if Label.COMPLIANT in labels:
        raise ValueError("compliant is said by an empty list of labels")
    if stray := [form.value for form in forms if KIND_OF_FORM[form] not in labels]:
        raise ValueError(
            f"the form {stray[0]} belongs to {KIND_OF_FORM[Form(stray[0])]}, which is not among its labels"
        )
    split = fields.get("split")
    return Row(
        scenario=str(fields["scenario"]),
        split=cast(Split, split) if split in SPLITS else "train",
        speaker=fields["speaker"],
        text=text,
        previous=tuple(str(turn) for turn in fields["previous"]),
        labels=labels,
        forms=forms,
        hard=bool(fields.get("hard", False)),
        source=fields.get("source", "reviewed"),
    )


def _tenth(row: Row) -> bool:
    return zlib.crc32(row.scenario.encode()) % 10 == 0


def _of_kind(kind: Label) -> Callable[[Row], bool]:
    return lambda row: kind in row.labels


def _of_form(form: Form) -> Callable[[Row], bool]:
    return lambda row: form in row.forms


_COUNTED: dict[str, Callable[[Row], bool]] = {
    "utterances": lambda row: True,
    "… in scripted calls": lambda row: row.source == "call",
    "… from the grammar": lambda row: row.source == "grammar",
    "compliant": lambda row: not row.labels,
    **{kind.value: _of_kind(kind) for kind in KINDS},
    **{f"{KIND_OF_FORM[form]} / {form}": _of_form(form) for form in Form},
    "more than one kind": lambda row: len(row.labels) > 1,
    "hard": lambda row: row.hard,
    "hard and compliant": lambda row: row.hard and not row.labels,
    "said by the collector": lambda row: row.speaker == "collector",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what the corpus holds.")
    parser.add_argument("--card", action="store_true", help="also bring the counts in its README up to date")
    wanted = parser.parse_args()
    table = counts(read_folder(CORPUS))
    print(table, end="")
    if wanted.card:
        before, _, rest = _CARD.read_text("utf8").partition(_BEGIN)
        _CARD.write_text(before + _BEGIN + table + _END + rest.partition(_END)[2], "utf8")


if __name__ == "__main__":
    main()
