"""Multipart request -> the file on disk with its hash, and the metadata; the file is never whole in memory."""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.errors import Refused, refusal
from app.recordings import MEDIA_TYPE_BYTES
from models.errors import CallError, EmptyRecording, TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_METADATA_BYTES = 64 * 1024
_ENVELOPE_BYTES = _METADATA_BYTES + 64 * 1024  # boundaries and part headers come on top of the file
_WRITE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Upload:
    path: Path
    sha256: str
    size: int
    head: bytes
    metadata: bytes | None


@asynccontextmanager
async def receive(request: Request, folder: Path, largest_bytes: int) -> AsyncIterator[Upload]:
    """The file is removed on leaving, unless it was moved. Raises Refused, TooLarge, EmptyRecording or OSError."""
    file = await run_in_threadpool(_new_file, folder)
    try:
        stream = request.stream()
        try:
            form = await _fill(file, request, stream, largest_bytes)
        except (CallError, Refused, OSError):
            if request.headers.get("expect", "").lower() != "100-continue":
                await _hear_out(stream, largest_bytes)
            raise
        await run_in_threadpool(_finish, file, form.take())
        yield Upload(Path(file.name), form.hash.hexdigest(), form.size, bytes(form.head), form.metadata)
    finally:
        with suppress(OSError):  # on a full disk, of what it could not write before
            file.close()
        Path(file.name).unlink(missing_ok=True)


async def _fill(file: IO[bytes], request: Request, stream: AsyncIterator[bytes], largest_bytes: int) -> "_Form":
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > largest_bytes + _ENVELOPE_BYTES:
        raise TooLarge(largest_bytes)
    form = _Form(largest_bytes)
    parser = MultipartParser(_boundary(request), form.callbacks())
    try:
        async for chunk in stream:
            parser.write(chunk)
            if len(form.unwritten) >= _WRITE_BYTES:
                await run_in_threadpool(file.write, form.take())
        parser.finalize()
    except FormParserError as error:
        raise refusal(400, "broken upload", "the body is no valid multipart/form-data; send it again") from error
    if not form.ended:
        raise refusal(400, "broken upload", "the request ended before its last boundary; send it again")
    if not form.file_seen:
        raise refusal(422, "missing file", "the form has no part named 'file'; send the recording as 'file'")
    if not form.size:
        raise EmptyRecording
    return form


@dataclass(slots=True)
class _Form:
    """What the parser has told so far."""

    largest_bytes: int
    size: int = 0
    head: bytearray = field(default_factory=bytearray)
    hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    unwritten: bytearray = field(default_factory=bytearray)
    metadata: bytes | None = None
    file_seen: bool = False
    ended: bool = False
    _part: str = ""
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self.part_begin,
            "on_header_field": self.header_field,
            "on_header_value": self.header_value,
            "on_header_end": self.header_end,
            "on_headers_finished": self.headers_finished,
            "on_part_data": self.part_data,
            "on_end": self.end,
        }

    def take(self) -> bytes:
        taken = bytes(self.unwritten)
        self.unwritten.clear()
        return taken

    def part_begin(self) -> None:
        self._part = ""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            # The file's own name is not looked at: it may hold a path, or whom the call is about.
            self._part = parse_options_header(bytes(self._value))[1].get(b"name", b"").decode("utf8", "replace")
        self._header.clear()
        self._value.clear()

    def headers_finished(self) -> None:
        if self._part == "file":
            if self.file_seen:
                raise refusal(422, "several files", "the form has several parts named 'file'; send one call a request")
            self.file_seen = True
        elif self._part == "metadata":
            self.metadata = b""
        else:
            raise refusal(422, "unknown part", "the form may have the parts 'file' and 'metadata' only")

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == "metadata":
            self.metadata = (self.metadata or b"") + data[start:end]
            if len(self.metadata) > _METADATA_BYTES:
                raise refusal(413, "metadata too large", f"the metadata are larger than {_METADATA_BYTES} bytes")
            return
        content = data[start:end]
        self.size += len(content)
        if self.size > self.largest_bytes:
            raise TooLarge(self.largest_bytes)
        self.head += content[: MEDIA_TYPE_BYTES - len(self.head)]
        self.hash.update(content)
        self.unwritten += content

    def end(self) -> None:
        self.ended = True


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise refusal(415, "not a form", "send multipart/form-data with the recording as its part 'file'")
    return options[b"boundary"]


async def _hear_out(stream: AsyncIterator[bytes], most_bytes: int) -> None:
    """A sender that is cut off in the middle of its body may never read why."""
    passed = 0
    async for chunk in stream:
        passed += len(chunk)
        if passed > most_bytes:
            return


def _new_file(folder: Path) -> IO[bytes]:
    return cast(IO[bytes], NamedTemporaryFile(dir=folder, delete=False))


def _finish(file: IO[bytes], rest: bytes) -> None:
    file.write(rest)
    file.flush()
    os.fsync(file.fileno())  # an accepted call outlives a power cut
