"""An archive's calls -> findings of conduct, borrower by borrower."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby

import pyarrow as pa
from pydantic import ValidationError

from pipelines.archive.errors import ArchiveError
from pipelines.archive.schemas import CALLS, FINDINGS, FINDINGS_SCHEMA, RULES
from pipelines.archive.scratch import put, scratch
from pipelines.archive.store import Store
from pipelines.conduct import Call, Finding, Rules, findings, unjudged

_COLUMNS = (
    "call_id",
    "called_at",
    "borrower_ref",
    "collector_id",
    "agency",
    "direction",
    "contact",
    "contact_refused",
    "agreed_hours",
    "duration_s",
    "borrower_speech_s",
    "unknown_speech_s",
)
_UNKNOWN_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Judged:
    """`unjudged`: how many calls lack what, by what they lack."""

    calls: int
    findings: int
    unjudged: dict[str, int]


def judge_conduct(store: Store, rules: Rules) -> Judged:
    """Writes the table of findings anew. Sorts on disk, so that memory is one borrower's calls."""
    lacking: Counter[str] = Counter()
    calls = 0
    found: list[Finding] = []
    with _sorted(store) as groups:
        for of_one in groups:
            calls += len(of_one)
            lacking.update(unjudged(of_one))
            found += findings(of_one, rules)
    rows = [{**asdict(finding), "title": _title(rules, finding.rule)} for finding in found]
    stated = {**FINDINGS_SCHEMA.metadata, RULES: rules.model_dump_json(by_alias=True).encode()}
    try:
        store.write_table(FINDINGS, pa.Table.from_pylist(rows, FINDINGS_SCHEMA.with_metadata(stated)))
    except OSError as error:
        raise ArchiveError(f"{store.place} cannot be written ({error.strerror or error})") from error
    return Judged(calls, len(found), {name: count for name, count in lacking.items() if count})


def judged_by(store: Store, findings: pa.Table) -> Rules:
    """The rules that made these findings. Raises ArchiveError if they are not known."""
    try:
        return Rules.model_validate_json((findings.schema.metadata or {})[RULES])
    except (KeyError, ValidationError):
        raise ArchiveError(
            f"{store.place}: its findings do not tell the rules that they were made by; "
            "run `callaudit archive conduct` again"
        ) from None


def _title(rules: Rules, name: str) -> str:
    return next(rule.title for rule in rules.rules if rule.id == name)


@contextmanager
def _sorted(store: Store) -> Iterator[Iterator[list[Call]]]:
    with scratch(f"CREATE TABLE calls ({', '.join(_COLUMNS)})") as base:
        statement = f"INSERT INTO calls VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - names of our own
        for table in store.scan(CALLS, [*_COLUMNS, "same_as"]):
            # The same sound under another name is the same call, not one more.
            rows = [row for row in table.to_pylist() if row["same_as"] is None]
            put(base, statement, ([_stored(row[name]) for name in _COLUMNS] for row in rows))
        yield _groups(base)


def _groups(base: sqlite3.Connection) -> Iterator[list[Call]]:
    rows = base.execute("SELECT * FROM calls ORDER BY borrower_ref, called_at, call_id")
    for borrower, of_one in groupby((_call(row) for row in rows), key=lambda call: call.borrower_ref):
        if borrower is not None:
            yield list(of_one)
            continue
        some: list[Call] = []
        for call in of_one:
            some.append(call)
            if len(some) == _UNKNOWN_AT_ONCE:
                yield some
                some = []
        yield some


def _stored(value: object) -> object:
    return value.timestamp() if isinstance(value, datetime) else value


def _call(row: tuple[object, ...]) -> Call:
    told = dict(zip(_COLUMNS, row, strict=True))
    at = told["called_at"]
    told["called_at"] = datetime.fromtimestamp(at, UTC) if isinstance(at, float) else None
    told |= {name: bool(told[name]) for name in ("contact_refused", "agreed_hours")}
    return Call(**told)  # type: ignore[arg-type]
