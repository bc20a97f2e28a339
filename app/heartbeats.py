"""How often each worker has given a sign of life, as the database has it -> which of them live."""

import time
from collections.abc import Mapping

import sqlalchemy as sa

from app.tables import workers


def read_beats(connection: sa.Connection) -> dict[str, int]:
    """By the worker's name."""
    return {row.executor_id: row.beats for row in connection.execute(sa.select(workers))}


class Heartbeats:
    """Remembers when each count last changed, by this process's clock: no two machines' clocks are compared."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._seen: dict[str, tuple[int, float]] = {}

    def alive(self, beats: Mapping[str, int]) -> set[str]:
        """Whose count is new, or changed within the timeout. `beats`: of every worker that is known now."""
        now = time.monotonic()
        before, self._seen = self._seen, {}
        for name, count in beats.items():
            known, since = before.get(name, (None, now))
            self._seen[name] = (count, since if known == count else now)
        return {name for name, (_, since) in self._seen.items() if now - since <= self._timeout_s}
