"""What a run must remember of every recording, on disk, so that memory does not grow with the archive."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from zoneinfo import ZoneInfo

from pipelines.archive.errors import ArchiveError
from pipelines.archive.facts import BadFacts, Facts, read_facts
from pipelines.archive.scratch import put, scratch

_NAMED = 5

_TABLES = """
CREATE TABLE done (recording TEXT PRIMARY KEY, part TEXT, stale INTEGER) WITHOUT ROWID;
CREATE TABLE sounds (sha256 TEXT PRIMARY KEY, recording TEXT, part TEXT) WITHOUT ROWID;
CREATE TABLE ids (call_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE facts (key TEXT PRIMARY KEY, facts TEXT, used INTEGER DEFAULT 0) WITHOUT ROWID;
"""


class Ledger:
    """Of done recordings, of sounds by hash, and of metadata by call id or path."""

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base

    def note_done(self, recordings: Iterable[tuple[str, bool]], part: str) -> None:
        """Each with whether it is stale: it is there, and to be done again."""
        rows = ((recording, part, stale) for recording, stale in recordings)
        put(self._base, "INSERT OR REPLACE INTO done VALUES (?, ?, ?)", rows)

    def is_done(self, recording: str) -> bool:
        found = self._base.execute("SELECT 1 FROM done WHERE recording = ? AND NOT stale", (recording,))
        return bool(found.fetchone())

    def is_stale(self, recording: str) -> bool:
        return self.stale_part(recording) is not None

    def stale_part(self, recording: str) -> str | None:
        found = self._base.execute("SELECT part FROM done WHERE recording = ? AND stale", (recording,)).fetchone()
        return str(found[0]) if found else None

    def note_sounds(self, sounds: Iterable[tuple[str, str]], part: str) -> None:
        """`sounds`: hash and the recording that was scored for it."""
        rows = ((sha256, recording, part) for sha256, recording in sounds)
        put(self._base, "INSERT OR REPLACE INTO sounds VALUES (?, ?, ?)", rows)

    def sound(self, sha256: str) -> tuple[str, str] | None:
        """The recording that was scored, and the part it is in."""
        found = self._base.execute("SELECT recording, part FROM sounds WHERE sha256 = ?", (sha256,)).fetchone()
        return (found[0], found[1]) if found else None

    def take_facts(self, place: str, rows: Iterable[dict[str, Any]], zone: ZoneInfo | None) -> None:
        """Raises ArchiveError naming the rows that are wrong; nothing has been scored then."""
        twice: list[str] = []
        for number, row in enumerate(rows, start=1):
            key = str(row.get("path") or row.get("recording") or row.get("call_id") or "")
            if not key:
                raise ArchiveError(f"{place}, row {number}: neither path nor call_id; give it one of them")
            try:
                facts = read_facts(row, zone)
            except BadFacts as error:
                raise ArchiveError(f"{place}, row {number} ({key}): {error}") from None
            changed = self._base.execute("INSERT OR IGNORE INTO facts VALUES (?, ?, 0)", (key, facts.model_dump_json()))
            if not changed.rowcount:
                twice.append(key)
            elif facts.call_id and not self._is_new(facts.call_id):
                twice.append(facts.call_id)
        if twice:
            more = f" and {len(twice) - _NAMED} more" if len(twice) > _NAMED else ""
            raise ArchiveError(
                f"{place} names {', '.join(map(repr, twice[:_NAMED]))}{more} twice; leave one row of each"
            )

    def facts_of(self, recording: str) -> Facts | None:
        """And marks it as used. By path, by file name, or by file name without ending, as call ids often are."""
        name = recording.rpartition("/")[2]
        for key in dict.fromkeys((recording, name, name.rpartition(".")[0] or name)):
            if found := self._base.execute("SELECT facts FROM facts WHERE key = ?", (key,)).fetchone():
                self._base.execute("UPDATE facts SET used = 1 WHERE key = ?", (key,))
                return Facts.model_validate(json.loads(found[0]))
        return None

    def unused_facts(self) -> Iterator[tuple[str, Facts]]:
        for key, facts in self._base.execute("SELECT key, facts FROM facts WHERE used = 0 ORDER BY key"):
            yield key, Facts.model_validate(json.loads(facts))

    def _is_new(self, call_id: str) -> bool:
        return bool(self._base.execute("INSERT OR IGNORE INTO ids VALUES (?)", (call_id,)).rowcount)


@contextmanager
def ledger() -> Iterator[Ledger]:
    with scratch(_TABLES) as base:
        yield Ledger(base)
