"""Bytes of a recording, as they come -> a file on disk with its hash; never whole in memory."""

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, cast

from starlette.concurrency import run_in_threadpool

from app.recordings import MEDIA_TYPE_BYTES
from models.errors import EmptyRecording, TooLarge

_WRITE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Upload:
    path: Path
    sha256: str
    size: int
    head: bytes


@dataclass(slots=True)
class Incoming:
    file: IO[bytes]
    largest_bytes: int
    size: int = 0
    _head: bytearray = field(default_factory=bytearray)
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _unwritten: bytearray = field(default_factory=bytearray)

    def take(self, content: bytes) -> None:
        """Into memory; `write` when `is_heavy`. Raises TooLarge."""
        self.size += len(content)
        if self.size > self.largest_bytes:
            raise TooLarge(self.largest_bytes)
        self._head += content[: MEDIA_TYPE_BYTES - len(self._head)]
        self._hash.update(content)
        self._unwritten += content

    @property
    def is_heavy(self) -> bool:
        return len(self._unwritten) >= _WRITE_BYTES

    def write(self) -> None:
        content = bytes(self._unwritten)
        self._unwritten.clear()
        self.file.write(content)

    def finish(self) -> Upload:
        """Raises EmptyRecording or OSError."""
        if not self.size:
            raise EmptyRecording
        self.write()
        persist(self.file)
        return Upload(Path(self.file.name), self._hash.hexdigest(), self.size, bytes(self._head))


def persist(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())  # what was told to be there outlives a power cut


@contextmanager
def incoming(folder: Path, largest_bytes: int) -> Iterator[Incoming]:
    """The file is removed on leaving, unless it was moved."""
    file = cast(IO[bytes], NamedTemporaryFile(dir=folder, delete=False))  # noqa: SIM115 - it may be moved away
    try:
        yield Incoming(file, largest_bytes)
    finally:
        with suppress(OSError):  # on a full disk, of what it could not write before
            file.close()
        Path(file.name).unlink(missing_ok=True)


@asynccontextmanager
async def async_incoming(folder: Path, largest_bytes: int) -> AsyncIterator[Incoming]:
    context = incoming(folder, largest_bytes)
    opened = await run_in_threadpool(context.__enter__)
    try:
        yield opened
    finally:
        context.__exit__(None, None, None)
