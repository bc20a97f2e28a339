"""Uploads that go on where they stopped, as of tus 1.0 (core, creation, termination): /uploads.

A file that comes in is named for the hash of its upload's name, and its length is how far it came: nothing else is
kept of an upload until a form hands it in.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app import calls
from app.borrowers.deps import GateDep, address_of
from app.borrowers.route import pages_router
from app.deps import DatabaseDep, RecordingsDep, SettingsDep
from app.incoming import Upload
from app.recordings import MEDIA_TYPE_BYTES
from app.trouble import Trouble
from models.errors import EmptyRecording, TooLarge

router = pages_router("/uploads")

_NAME = re.compile(r"[A-Za-z0-9_-]{43}")
_TUS = {"tus-resumable": "1.0.0"}
_FORGOTTEN_AFTER_S, _LOST_AFTER_S = 600, 24 * 3600
_UNFINISHED_AT_ONCE = 40  # times the largest file: what strangers leave unfinished must not fill the disk
_WRITE_BYTES = 2**20
_LET_GO_WITHIN_S, _LOOK_EVERY_S = 5.0, 0.1


@router.options("")
def tell_protocol(settings: SettingsDep) -> Response:
    told = {"tus-version": "1.0.0", "tus-extension": "creation,termination"}
    return Response(status_code=204, headers={**_TUS, **told, "tus-max-size": str(settings.borrower_upload_bytes)})


@router.post("")
def begin_upload(
    *, request: Request, settings: SettingsDep, database: DatabaseDep, recordings: RecordingsDep, gate: GateDep
) -> Response:
    length = request.headers.get("upload-length", "")
    if not re.fullmatch(r"\d{1,15}", length, re.ASCII):
        raise Trouble(400, "form")
    if int(length) > settings.borrower_upload_bytes:
        raise TooLarge(settings.borrower_upload_bytes)
    if not int(length):
        raise EmptyRecording
    if calls.as_many_wait(database, settings.max_queued_calls):
        raise Trouble(503, "busy", {"retry-after": "60"})
    gate.admit_upload(address_of(request))
    if _promised(recordings.incoming) + int(length) > _UNFINISHED_AT_ONCE * settings.borrower_upload_bytes:
        raise Trouble(503, "busy", {"retry-after": "600"})
    name = secrets.token_urlsafe(32)
    (recordings.incoming / f"upload-{hashed(name)}-{length}").touch(exist_ok=False)
    return Response(status_code=201, headers={**_TUS, "location": f"/uploads/{name}", "upload-offset": "0"})


@router.head("/{name}")
def tell_offset(name: str, recordings: RecordingsDep) -> Response:
    path = _path(recordings.incoming, name)
    told = {"upload-offset": str(path.stat().st_size), "upload-length": str(_length(path))}
    return Response(headers={**_TUS, **told, "cache-control": "no-store"})


@router.patch("/{name}")
async def go_on(name: str, request: Request, settings: SettingsDep, recordings: RecordingsDep) -> Response:
    """What came before the connection broke, or fell silent, stays."""
    path = await run_in_threadpool(_path, recordings.incoming, name)
    if request.headers.get("content-type") != "application/offset+octet-stream":
        raise Trouble(415, "form")
    with _held(path) as descriptor:
        offset, length = os.fstat(descriptor).st_size, _length(path)
        if request.headers.get("upload-offset") != str(offset):
            raise Trouble(409, "upload_offset", {**_TUS, "upload-offset": str(offset)})
        waiting = bytearray()
        try:
            async for chunk in _until_silent(request.stream(), settings.request_within_seconds):
                offset += len(chunk)
                if offset > length:
                    raise TooLarge(length)
                waiting += chunk
                if len(waiting) >= _WRITE_BYTES:
                    await run_in_threadpool(_append, descriptor, bytes(waiting))
                    waiting.clear()
        except (ClientDisconnect, Trouble):
            await run_in_threadpool(_append, descriptor, bytes(waiting))
            raise
        await run_in_threadpool(_append, descriptor, bytes(waiting))
    return Response(status_code=204, headers={**_TUS, "upload-offset": str(offset)})


@router.delete("/{name}")
def give_up(name: str, recordings: RecordingsDep) -> Response:
    _path(recordings.incoming, name).unlink(missing_ok=True)
    return Response(status_code=204, headers=_TUS)


@contextmanager
def handed_in(folder: Path, name: str) -> Iterator[Upload | None]:
    """A finished upload, to be moved away; None if it is not there, as when it was handed in already.

    Whoever hands it in at the same time waits, for some seconds. Raises Trouble if it is not finished or not let go.
    """
    try:
        path = _path(folder, name)
        descriptor = os.open(path, os.O_RDWR)
    except (Trouble, FileNotFoundError):
        yield None
        return
    try:
        _lock(descriptor, _LET_GO_WITHIN_S)
        if not path.exists():
            yield None
            return
        size = os.fstat(descriptor).st_size
        if size != _length(path):
            raise Trouble(409, "upload_unfinished")
        os.fsync(descriptor)
        with path.open("rb") as file:
            head = file.read(MEDIA_TYPE_BYTES)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield Upload(path, digest, size, head)
    finally:
        os.close(descriptor)


def hashed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _path(folder: Path, name: str) -> Path:
    """Raises Trouble."""
    found = list(folder.glob(f"upload-{hashed(name)}-*[0-9]")) if _NAME.fullmatch(name) else []
    if not found:
        raise Trouble(404, "upload_gone")
    return found[0]


def _length(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


@contextmanager
def _held(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        _lock(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, within_s: float = 0.0) -> None:
    """Raises Trouble if another holds it for longer: a request that waited on would keep a thread from all others."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Trouble(423, "upload_elsewhere") from None
            time.sleep(_LOOK_EVERY_S)
        else:
            return


async def _until_silent(stream: AsyncIterator[bytes], within_s: float) -> AsyncIterator[bytes]:
    """Raises Trouble: a phone that lost its line comes back on another one, and must not find the upload held."""
    while True:
        try:
            yield await asyncio.wait_for(anext(stream), within_s)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Trouble(408, "upload_silent") from None


def _append(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _promised(folder: Path) -> int:
    """Bytes that unfinished uploads take, or still may; of those that nobody goes on with, what came.

    Uploads that were lost long ago are removed.
    """
    promised, now = 0, time.time()
    for file in folder.glob("upload-*-*"):
        try:
            told = file.stat()
            if told.st_mtime < now - _LOST_AFTER_S:
                file.unlink()
                continue
        except FileNotFoundError:
            continue  # it was handed in meanwhile, or another request was quicker
        if not file.suffix:  # else it is being encrypted, and was handed in
            promised += _length(file) if told.st_mtime > now - _FORGOTTEN_AFTER_S else told.st_size
    return promised
