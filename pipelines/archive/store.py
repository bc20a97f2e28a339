"""Tables in a folder or bucket: parts appear whole, and count once their manifest is there."""

import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from pipelines.archive.errors import ArchiveError
from pipelines.archive.schemas import CALLS, FAILURES, SCHEMAS, UTTERANCES, VERSION

_RUN = "run.json"
_MANIFESTS = "parts"
# A call's row comes last of all tables: whoever reads the folder meanwhile finds its utterances there.
_ORDER = (FAILURES, UTTERANCES, CALLS)
_DROP_IN = ".tmp"


@dataclass(frozen=True, slots=True)
class Part:
    """What one commit added. `took_s`: seconds spent scoring, of all workers together."""

    name: str
    rows: dict[str, int]
    sha256: dict[str, str]
    replaces: tuple[str, ...] = ()
    audio_s: float = 0.0
    took_s: float = 0.0


class Store:
    """An archive's tables. One run at a time writes; readers need no permission."""

    def __init__(self, place: str) -> None:
        """Raises ArchiveError if the place is not of a kind that fsspec knows."""
        try:
            self._files, self._root = fsspec.core.url_to_fs(place)
        except (ImportError, ValueError, OSError) as error:
            raise ArchiveError(f"{place}: {error}") from error
        self.place = place
        self._local = isinstance(self._files, LocalFileSystem)

    @contextmanager
    def writing(self, kind: str) -> Iterator[None]:
        """`kind`: audio or transcripts, which do not mix. Raises ArchiveError if others use the place."""
        try:
            with self._lock():
                self._claim(kind)
                self._collect_garbage()
                yield
        except OSError as error:
            raise ArchiveError(f"{self.place} cannot be written ({error.strerror or error})") from error

    def parts(self) -> list[Part]:
        """Committed and not replaced, by name. Raises ArchiveError if there is no archive."""
        self.check()
        found = {part.name: part for part in self._manifests()}
        gone = {name for part in found.values() for name in part.replaces}
        return [found[name] for name in sorted(found) if name not in gone]

    def check(self) -> None:
        """Raises ArchiveError if this is no archive, or one of another schema."""
        run = self._read_json(f"{self._root}/{_RUN}")
        if run is None:
            raise ArchiveError(f"{self.place} is no archive: it has no {_RUN}; make one with `callaudit archive score`")
        if run.get("schema") != VERSION:
            raise ArchiveError(
                f"{self.place} has tables of schema {run.get('schema')}, this program writes {VERSION}; "
                "choose another --out"
            )

    def read(self, table: str, part: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Of the part of this name."""
        content = self._files.cat_file(self._file(table, part))
        return parquet_file(content).read(columns=columns, use_threads=False)

    def rows_of(self, part: str) -> dict[str, list[dict[str, Any]]]:
        """All of a part."""
        return {table: self.read(table, part).to_pylist() for table in _ORDER}

    def scan(self, table: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Part by part, so that memory is bounded whatever the archive's size."""
        for part in self.parts():
            if part.rows[table]:
                yield self.read(table, part.name, columns)

    def commit(
        self,
        rows: Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        replaces: Sequence[str] = (),
        audio_s: float = 0.0,
        took_s: float = 0.0,
    ) -> Part:
        """All rows or none; parts that are replaced go once these are there. Raises OSError."""
        name = uuid4().hex
        hashes = {}
        for table in _ORDER:
            content = _parquet(pa.Table.from_pylist(list(rows[table]), SCHEMAS[table]))
            hashes[table] = hashlib.sha256(content).hexdigest()
            self._put(self._file(table, name), content)
        counts = {table: len(rows[table]) for table in _ORDER}
        part = Part(name, counts, hashes, tuple(replaces), round(audio_s, 3), round(took_s, 3))
        self._put(f"{self._root}/{_MANIFESTS}/{name}.json", json.dumps(asdict(part)).encode())
        for old in replaces:
            self._remove(old)
        return part

    def write_table(self, name: str, table: pa.Table) -> None:
        """Of what is derived from all parts, in a folder of its own; replaces what was there."""
        self._put(f"{self._root}/{name}/{name}.parquet", _parquet(table))

    def read_table(self, name: str) -> pa.Table | None:
        path = f"{self._root}/{name}/{name}.parquet"
        if not self._files.exists(path):
            return None
        return parquet_file(self._files.cat_file(path)).read(use_threads=False)

    def write_file(self, name: str, content: bytes) -> str:
        """Returns where it is."""
        self._put(f"{self._root}/{name}", content)
        return f"{self.place.rstrip('/')}/{name}"

    def _claim(self, kind: str) -> None:
        run = self._read_json(f"{self._root}/{_RUN}")
        if run is None:
            if any(self._files.exists(f"{self._root}/{table}") for table in SCHEMAS):
                raise ArchiveError(f"{self.place} has tables of another program; choose another --out")
            self._put(f"{self._root}/{_RUN}", json.dumps({"schema": VERSION, "of": kind}).encode())
            return
        self.check()
        if run.get("of") != kind:
            raise ArchiveError(f"{self.place} is an archive of {run.get('of')}, not of {kind}; choose another --out")

    def _collect_garbage(self) -> None:
        """What a killed run left: parts without manifest, parts that were replaced, half a file."""
        kept = {part.name for part in self.parts()}
        for part in self._manifests():
            if part.name not in kept:
                self._remove(part.name)
        for folder in (*_ORDER, _MANIFESTS):
            for path in self._list(folder):
                if path.endswith(_DROP_IN) or path.rpartition("/")[2].partition(".")[0] not in kept:
                    self._files.rm_file(path)

    def _remove(self, part: str) -> None:
        for table in reversed(_ORDER):
            if self._files.exists(self._file(table, part)):
                self._files.rm_file(self._file(table, part))
        self._files.rm_file(f"{self._root}/{_MANIFESTS}/{part}.json")

    def _manifests(self) -> Iterator[Part]:
        for path in self._list(_MANIFESTS):
            if path.endswith(".json") and (told := self._read_json(path)) is not None:
                yield Part(**{**told, "replaces": tuple(told["replaces"])})

    def _list(self, folder: str) -> list[str]:
        self._files.invalidate_cache()
        path = f"{self._root}/{folder}"
        return [str(found) for found in self._files.ls(path, detail=False)] if self._files.exists(path) else []

    def _file(self, table: str, part: str) -> str:
        return f"{self._root}/{table}/{part}.parquet"

    def _read_json(self, path: str) -> dict[str, Any] | None:
        if not self._files.exists(path):
            return None
        return dict(json.loads(self._files.cat_file(path)))

    def _put(self, path: str, content: bytes) -> None:
        """Whole or not at all; a bucket shows an object only when all of it has arrived."""
        if not self._local:
            self._files.pipe_file(path, content)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        passing = target.with_name(f".{target.name}.{uuid4().hex}{_DROP_IN}")
        try:
            with passing.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            passing.replace(target)
        except BaseException:
            passing.unlink(missing_ok=True)
            raise

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if not self._local:
            yield  # buckets have no locks; docs/archive.md says so
            return
        Path(self._root).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{self._root}/.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArchiveError(f"{self.place} is being written by another run; wait for it") from None
            yield
        finally:
            os.close(descriptor)


def parquet_file(content: bytes) -> pq.ParquetFile:
    """To read with `use_threads=False`: a thread of Arrow that lives when the program ends can abort it
    (github.com/apache/arrow/issues/34314), and Arrow starts one even to read a file.
    """
    return pq.ParquetFile(pa.BufferReader(content))


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
