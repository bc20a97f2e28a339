"""Recordings by tenant and the SHA-256 of their bytes, in a folder or a bucket; each is stored once."""

import errno
import logging
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from app.config import CannotStart, Settings
from app.errors import Refused
from app.logs import where
from app.tables import DEFAULT_TENANT

_log = logging.getLogger(__name__)

_LEFTOVER_AFTER_S = 24 * 3600
# Stores without folders: to make one there would make the bucket, also where somebody has deleted it.
_WITHOUT_FOLDERS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}

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
    """A file appears under its hash whole or not at all. What fails at the place raises OSError."""

    def __init__(self, settings: Settings) -> None:
        """Raises CannotStart if the place cannot be used."""
        try:
            self._files, self._root = fsspec.core.url_to_fs(settings.recordings)
            self._has_folders = settings.recordings.partition("://")[0] not in _WITHOUT_FOLDERS
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
        if self._local:
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            received.replace(target)
            _persist(Path(target).parent)
            return
        passing = f"{target}.{uuid4().hex}"
        with _asking_a_store():
            if self._has_folders:
                self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            try:
                self._files.put_file(str(received), passing)
                self._files.mv(passing, target)
            except BaseException:
                with suppress(Exception):  # what went wrong first is what is told
                    self._files.rm_file(passing)
                raise
        received.unlink()

    def forget(self, tenant_id: str, sha256: str) -> None:
        with suppress(FileNotFoundError), _asking_a_store():
            self._files.rm_file(self._path(tenant_id, sha256))

    def has(self, tenant_id: str, sha256: str) -> bool:
        try:
            with _asking_a_store():
                # Not by exists(), which of most file systems is False when they do not answer, too.
                self._files.info(self._path(tenant_id, sha256))
        except FileNotFoundError:
            return False
        return True

    def read(self, tenant_id: str, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        with _asking_a_store(), self._files.open(self._path(tenant_id, sha256), "rb") as file:
            yield from self._keyring.open(file, start, stop)

    @contextmanager
    def as_file(self, tenant_id: str, sha256: str) -> Iterator[Path]:
        """Raises FileNotFoundError if the recording was removed meanwhile."""
        path = self._path(tenant_id, sha256)
        if self._local and not self._keyring.opens_anything:
            yield Path(path)
            return
        # Without a name, so that nothing plain is left behind, however the process ends.
        with TemporaryFile(dir=self.incoming) as copy:
            for chunk in self.read(tenant_id, sha256, 0, sys.maxsize):
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
        if self._local:
            self._files.ls(self._root, detail=False)
            return
        bucket = self._root.partition("/")[0]
        with _asking_a_store():
            self._files.invalidate_cache(self._root)  # what was listed once may be gone
            try:
                self._files.info(self._root)
            except FileNotFoundError:
                if bucket in ("", self._root):
                    raise
                # Object stores know no empty folders. Keys for this prefix alone may not ask for its bucket.
                with suppress(PermissionError):
                    self._files.info(bucket)

    def _path(self, tenant_id: str, sha256: str) -> str:
        folder = "" if tenant_id == DEFAULT_TENANT else f"/tenants/{tenant_id}"
        return f"{self._root}{folder}/{sha256[:2]}/{sha256}"


@contextmanager
def _asking_a_store() -> Iterator[None]:
    """Raises OSError for what the store's client raises of its own, as s3fs does when its endpoint is silent."""
    try:
        yield
    except (OSError, Refused):
        raise
    except Exception as error:  # every store's client has its own errors
        _log.warning("the store of recordings fails: %s", where(error))
        raise OSError(errno.EIO, f"the store fails with {type(error).__name__}") from error


def _clear(folder: Path) -> None:
    """What a killed process left behind: uploads, and folders in which something was made."""
    for left in folder.iterdir():
        try:
            found = left.lstat()
            if found.st_mtime >= time.time() - _LEFTOVER_AFTER_S:
                continue
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(left)
            else:
                left.unlink()
        except FileNotFoundError:
            continue  # another process was quicker
        except OSError as error:
            _log.warning("a leftover in %s cannot be removed: %s", folder, where(error))


def _persist(folder: Path) -> None:
    """A rename survives a power cut only once its folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
