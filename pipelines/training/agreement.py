"""The corpus's test split, read again by readers blind to its labels -> how far they agree with the first reading.

What careful readings agree on is the most that can be asked of a classifier. Where they differ, another decided.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import cohen_kappa_score, f1_score

from models.call import KIND_OF_FORM, KINDS, Form
from pipelines.training.dataset import CORPUS, BadData, Row, read_folder
from pipelines.training.measures import Flags, Truth

SECOND, THIRD, OVERRULED = (CORPUS / "readings" / f"{name}.jsonl" for name in ("second", "third", "overruled"))


def read_again(rows: Sequence[Row], file: Path = SECOND) -> list[Row]:
    """The test rows of `rows` with a later reading's labels. What `file` does not name, it calls compliant.

    `file`: JSON lines of scenario, number of the row in it from 0, and forms. Raises BadData if a row is not there.
    """
    return _reading(rows, file, lambda _: ())


def read_first(rows: Sequence[Row], overruled: Path = OVERRULED) -> list[Row]:
    """The test rows of `rows` as they were read first. `overruled`: as for `read_again`, what was changed since."""
    return _reading(rows, overruled, lambda row: row.forms)


def _reading(rows: Sequence[Row], file: Path, otherwise: Callable[[Row], tuple[Form, ...]]) -> list[Row]:
    found = {}
    for line in file.read_text("utf8").splitlines():
        saved = json.loads(line)
        found[saved["scenario"], saved["number"]] = tuple(Form(form) for form in saved["forms"])
    read, seen = [], Counter[str]()
    for row in rows:
        if row.split == "test":
            forms = found.pop((row.scenario, seen[row.scenario]), otherwise(row))
            labels = tuple(kind for kind in KINDS if any(KIND_OF_FORM[form] is kind for form in forms))
            read.append(replace(row, labels=labels, forms=forms))
            seen[row.scenario] += 1
    if found:
        raise BadData(
            f"{file} labels rows that the corpus does not hold: {next(iter(found))} and {len(found) - 1} more"
        )
    return read


def agreement(first: Flags, second: Flags) -> dict[str, tuple[float, float]]:
    """Cohen's kappa and F1 of each kind and of what is compliant. Both: (rows, KINDS)."""
    parts = {kind.value: (first[:, i], second[:, i]) for i, kind in enumerate(KINDS)}
    parts["compliant"] = ~first.any(axis=1), ~second.any(axis=1)
    return {name: (float(cohen_kappa_score(a, b)), float(f1_score(a, b))) for name, (a, b) in parts.items()}


def main() -> None:
    rows = read_folder(CORPUS)
    test = [row for row in rows if row.split == "test"]
    first = Truth.of(read_first(rows)).kinds
    for file in (SECOND, THIRD):
        again = Truth.of(read_again(rows, file)).kinds
        for name, chosen in (("all", np.ones(len(test), bool)), ("hard", np.array([row.hard for row in test]))):
            found = agreement(first[chosen], again[chosen])
            mean = np.mean([f1 for _, f1 in found.values()])
            print(f"{file.stem} reading, {name}, {chosen.sum()} utterances: macro-F1 {mean:.3f}")
            for kind, (kappa, f1) in found.items():
                print(f"  {kind}: kappa {kappa:.2f}, F1 {f1:.3f}")


if __name__ == "__main__":
    main()
