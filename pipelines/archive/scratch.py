"""A table on disk for what must not grow memory with the archive; it goes with the run."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from errno import ENOSPC
from pathlib import Path
from tempfile import TemporaryDirectory

_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


@contextmanager
def scratch(tables: str) -> Iterator[sqlite3.Connection]:
    """`tables`: statements that make them. Nothing in it has to survive, so nothing is journalled.

    Raises OSError where there is no room for it.
    """
    with (
        TemporaryDirectory(prefix="callaudit-archive-") as folder,
        closing(sqlite3.connect(Path(folder) / "scratch.db", isolation_level=None)) as base,
    ):
        try:
            base.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE; {tables}")
            yield base
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _NO_ROOM:
                raise
            raise OSError(ENOSPC, f"{os.strerror(ENOSPC)}; set TMPDIR to a folder with more", folder) from error


def put(base: sqlite3.Connection, statement: str, rows: Iterable[Sequence[object]]) -> None:
    base.execute("BEGIN")
    base.executemany(statement, rows)
    base.execute("COMMIT")
