"""A table on disk for what must not grow memory with the archive; it goes with the run."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def scratch(tables: str) -> Iterator[sqlite3.Connection]:
    """`tables`: statements that make them. Nothing in it has to survive, so nothing is journalled."""
    with (
        TemporaryDirectory(prefix="callaudit-archive-") as folder,
        closing(sqlite3.connect(Path(folder) / "scratch.db", isolation_level=None)) as base,
    ):
        base.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE; {tables}")
        yield base


def put(base: sqlite3.Connection, statement: str, rows: Iterable[Sequence[object]]) -> None:
    base.execute("BEGIN")
    base.executemany(statement, rows)
    base.execute("COMMIT")
