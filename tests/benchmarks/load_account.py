"""The database after a load run -> whether every accepted call was finished, and none twice."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import psycopg

_OPEN = "SELECT count(*) FROM calls WHERE status IN ('queued', 'processing')"
_CALLS = "SELECT id, status, attempts, received_at, finished_at FROM calls"
# Each of these finds what is there twice.
_TWICE = {
    "recordings stored as two calls": "SELECT 1 FROM calls GROUP BY recording_sha256 HAVING count(*) > 1",
    "utterances indexed twice": (
        "SELECT 1 FROM utterances WHERE place IS NOT NULL GROUP BY call_id, place HAVING count(*) > 1"
    ),
    "acceptances logged twice": (
        "SELECT 1 FROM audit_log WHERE action = 'call.accepted' GROUP BY subject HAVING count(*) > 1"
    ),
    "calls told of as done twice": (
        "SELECT 1 FROM webhook_messages WHERE event = 'call.done' GROUP BY webhook_id, call_id HAVING count(*) > 1"
    ),
}
_UNDELIVERED = "SELECT count(*) FROM webhook_messages WHERE state <> 'delivered'"
_JOBS = "SELECT count(*) FROM dbos.workflow_status WHERE status NOT IN ('SUCCESS', 'ERROR', 'CANCELLED')"


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    status: str
    attempts: int
    received_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Account:
    rows: tuple[Row, ...]
    twice: dict[str, int]
    undelivered: int
    open_jobs: int

    @property
    def done(self) -> set[str]:
        return {row.id for row in self.rows if row.status == "done"}

    def faults(self, accepted: Iterable[str]) -> list[str]:
        """In words; none if all is as it must be."""
        accepted, stored = set(accepted), {row.id for row in self.rows}
        counted = {
            "accepted calls are not done": len(accepted - self.done),
            "calls are stored of which nobody was told": len(stored - accepted),
            "webhook messages are not delivered": self.undelivered,
            "jobs are left": self.open_jobs,
            **self.twice,
        }
        return [f"{count} {what}" for what, count in counted.items() if count]


def waiting(database_url: str) -> int:
    """Calls that are not finished. Raises psycopg.OperationalError while the database is away."""
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        return _number(connection, _OPEN)


def undelivered(database_url: str) -> int:
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        return _number(connection, _UNDELIVERED) + _number(connection, _JOBS)


def account(database_url: str) -> Account:
    with psycopg.connect(database_url) as connection:
        return Account(
            rows=tuple(Row(*row) for row in connection.execute(_CALLS)),
            twice={what: len(connection.execute(query).fetchall()) for what, query in _TWICE.items()},
            undelivered=_number(connection, _UNDELIVERED),
            open_jobs=_number(connection, _JOBS),
        )


def _number(connection: "psycopg.Connection[tuple[int, ...]]", query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row
    return row[0]
