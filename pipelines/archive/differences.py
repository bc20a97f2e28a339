"""Two archives of the same recordings -> the verdicts that differ, with the utterances that make the difference."""

from collections.abc import Iterator
from dataclasses import dataclass

from models.call import Label
from pipelines.archive.schemas import CALLS
from pipelines.archive.scratch import put, scratch
from pipelines.archive.store import Store
from pipelines.report import Report, UtterancePart, accused

_BEFORE = "CREATE TABLE a (recording TEXT PRIMARY KEY, report TEXT, met INTEGER DEFAULT 0) WITHOUT ROWID"


@dataclass(frozen=True, slots=True)
class Said:
    start_s: float
    text: str
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """`before`, `after`: flagged utterances that only one of the two has; the words may differ too."""

    recording: str
    verdict_before: tuple[Label, ...]
    verdict_after: tuple[Label, ...]
    before: tuple[Said, ...]
    after: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """`where`: in which of the two the recording is not, before or after."""

    recording: str
    where: str


def differences(first: Store, second: Store) -> Iterator[Difference | Missing]:
    """In the order of the second archive; then what only the first one has. Memory does not grow with the archives."""
    columns = ["recording", "report"]
    with scratch(_BEFORE) as base:
        for table in first.scan(CALLS, columns):
            rows = [(row["recording"], row["report"]) for row in table.to_pylist()]
            put(base, "INSERT INTO a (recording, report) VALUES (?, ?)", rows)
        for table in second.scan(CALLS, columns):
            for row in table.to_pylist():
                name = row["recording"]
                found = base.execute("UPDATE a SET met = 1 WHERE recording = ? RETURNING report", (name,)).fetchone()
                if found is None:
                    yield Missing(name, "before")
                elif difference := _difference(name, found[0], row["report"]):
                    yield difference
        for (name,) in base.execute("SELECT recording FROM a WHERE NOT met ORDER BY recording"):
            yield Missing(name, "after")


def _difference(recording: str, before: str, after: str) -> Difference | None:
    old, new = Report.model_validate_json(before), Report.model_validate_json(after)
    if set(old.summary.verdict) == set(new.summary.verdict):
        return None
    was, now = _flagged(old), _flagged(new)
    return Difference(
        recording,
        old.summary.verdict,
        new.summary.verdict,
        tuple(said for said in was if said not in now),
        tuple(said for said in now if said not in was),
    )


def _flagged(report: Report) -> list[Said]:
    return [_said(u) for u in accused(report.utterances)]


def _said(utterance: UtterancePart) -> Said:
    return Said(utterance.start, utterance.text, tuple(sorted(utterance.labels)))
