"""Recordings by tenant and the SHA-256 of their bytes, in a folder or a bucket; each is stored once."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from app.config import CannotStart, Settings
from app.tables import DEFAULT_TENANT

_LEFTOVER_AFTER_S = 24 * 3600

_MEDIA_TYPES = (
    (0, b"RIFF", "audio/wav"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"#!AMR", "audio/amr"),
    (4, b"ftyp", "audio/mp4"),
    (0, b"\x1aE\xdf\xa3", "audio/webm"),
    (0, b"0&\xb2u", "audio/x-ms-wma"),
)
MEDIA_TYPE_BYTES = 16


def media_type(head: bytes) -> str:
    """By the file's first bytes; what the sender calls it could be a page with a script."""
    fitting = (kind for offset, magic, kind in _MEDIA_TYPES if head[offset : offset + len(magic)] == magic)
    return next(fitting, "application/octet-stream")


class Recordings:
    """A file appears under its hash whole or not at all."""

    def __init__(self, settings: Settings) -> None:
        """Raises CannotStart if the place cannot be used."""
        try:
            self._files, self._root = fsspec.core.url_to_fs(settings.recordings)
            self._keyring = settings.keyring
            self._local = isinstance(self._files, LocalFileSystem)
            # Beside the recordings if they are local: moving a file into place is then a rename.
            self.incoming = (Path(self._root) if self._local else settings.data_dir.absolute()) / ".incoming"
            self.incoming.mkdir(parents=True, exist_ok=True)
            _clear(self.incoming)
        except (OSError, ImportError, ValueError) as error:
            raise CannotStart(f"CALLAUDIT_RECORDINGS_URL={settings.recordings}: {error}") from error

    def keep(self, received: Path, tenant_id: str, sha256: str) -> None:
        target = self._path(tenant_id, sha256)
        if self._keyring.locks:
            self._lock(received)
        self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        if self._local:
            received.replace(target)
            _persist(Path(target).parent)
            return
        passing = f"{target}.{uuid4().hex}"
        try:
            self._files.put_file(str(received), passing)
            self._files.mv(passing, target)
        except BaseException:
            if self._files.exists(passing):
                self._files.rm_file(passing)
            raise
        received.unlink()

    def forget(self, tenant_id: str, sha256: str) -> None:
        path = self._path(tenant_id, sha256)
        if self._files.exists(path):
            self._files.rm_file(path)

    def has(self, tenant_id: str, sha256: str) -> bool:
        return bool(self._files.exists(self._path(tenant_id, sha256)))

    def read(self, tenant_id: str, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        with self._files.open(self._path(tenant_id, sha256), "rb") as file:
            yield from self._keyring.open(file, start, stop)

    @contextmanager
    def as_file(self, tenant_id: str, sha256: str) -> Iterator[Path]:
        """Raises FileNotFoundError if the recording was removed meanwhile."""
        path = self._path(tenant_id, sha256)
        if self._local and not self._keyring.opens_anything:
            yield Path(path)
            return
        # Without a name, so that nothing plain is left behind, however the process ends.
        with TemporaryFile(dir=self.incoming) as copy, self._files.open(path, "rb") as stored:
            for chunk in self._keyring.open(stored, 0, sys.maxsize):
                copy.write(chunk)
            copy.flush()
            copy.seek(0)
            yield Path(f"/proc/self/fd/{copy.fileno()}")

    def _lock(self, received: Path) -> None:
        """In place of what came in, so that the move to where it stays is the same as without a key."""
        locked = received.with_name(f"{received.name}.locked")
        try:
            with received.open("rb") as plain, locked.open("wb") as file:
                self._keyring.lock(plain, file)
                file.flush()
                os.fsync(file.fileno())  # an accepted call outlives a power cut
            locked.replace(received)
        except BaseException:
            locked.unlink(missing_ok=True)
            raise

    def check(self) -> None:
        """Raises OSError if the place does not answer."""
        self._files.ls(self._root, detail=False)

    def _path(self, tenant_id: str, sha256: str) -> str:
        folder = "" if tenant_id == DEFAULT_TENANT else f"/tenants/{tenant_id}"
        return f"{self._root}{folder}/{sha256[:2]}/{sha256}"


def _clear(folder: Path) -> None:
    """Uploads that a killed process left behind."""
    for file in folder.iterdir():
        if file.stat().st_mtime < time.time() - _LEFTOVER_AFTER_S:
            file.unlink(missing_ok=True)


def _persist(folder: Path) -> None:
    """A rename survives a power cut only once its folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
