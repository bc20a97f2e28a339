"""Request -> the recording on disk and its metadata: a multipart form, or the recording itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.errors import Refused, refusal
from app.incoming import Incoming, Upload, async_incoming
from models.errors import CallError, TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_METADATA_BYTES = 64 * 1024
_ENVELOPE_BYTES = _METADATA_BYTES + 64 * 1024  # boundaries and part headers come on top of the file

_PART_HEAD_BYTES = 16 * 1024

_Fill = Callable[[Incoming, AsyncIterator[bytes]], Awaitable[bytes | None]]


@asynccontextmanager
async def receive_form(
    request: Request, folder: Path, largest_bytes: int
) -> AsyncIterator[tuple[Upload, bytes | None]]:
    """With the part `metadata`. Raises Refused, TooLarge, EmptyRecording or OSError."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise refusal(415, "unsupported media type", "multipart/form-data needs a boundary in its content type")

    async def fill(file: Incoming, stream: AsyncIterator[bytes]) -> bytes | None:
        return await _read_form(file, stream, boundary)

    async with _receive(request, folder, largest_bytes, largest_bytes + _ENVELOPE_BYTES, fill) as received:
        yield received


@asynccontextmanager
async def receive_bare(request: Request, folder: Path, largest_bytes: int) -> AsyncIterator[Upload]:
    """The body is the recording. Raises TooLarge, EmptyRecording or OSError."""
    async with _receive(request, folder, largest_bytes, largest_bytes, _read_bare) as (upload, _):
        yield upload


@asynccontextmanager
async def _receive(
    request: Request, folder: Path, largest_bytes: int, longest_body: int, fill: _Fill
) -> AsyncIterator[tuple[Upload, bytes | None]]:
    async with async_incoming(folder, largest_bytes) as file:
        stream = request.stream()
        try:
            declared = request.headers.get("content-length", "")
            if declared.isdecimal() and int(declared) > longest_body:
                raise TooLarge(largest_bytes)
            told = await fill(file, stream)
        except (CallError, Refused, OSError):
            if request.headers.get("expect", "").lower() != "100-continue":
                await _hear_out(stream, largest_bytes)
            raise
        yield await run_in_threadpool(file.finish), told


async def _read_bare(file: Incoming, stream: AsyncIterator[bytes]) -> None:
    async for chunk in stream:
        file.take(chunk)
        if file.is_heavy:
            await run_in_threadpool(file.write)


async def _read_form(file: Incoming, stream: AsyncIterator[bytes], boundary: bytes) -> bytes | None:
    form = _Form(file)
    parser = MultipartParser(boundary, form.callbacks())
    try:
        async for chunk in stream:
            parser.write(chunk)
            if file.is_heavy:
                await run_in_threadpool(file.write)
        parser.finalize()
    except FormParserError as error:
        raise refusal(400, "broken upload", "the body is no valid multipart/form-data; send it again") from error
    if not form.ended:
        raise refusal(400, "broken upload", "the request ended before its last boundary; send it again")
    if not form.file_seen:
        raise refusal(422, "missing file", "the form has no part named 'file'; send the recording as 'file'")
    return form.metadata


@dataclass(slots=True)
class _Form:
    """What the parser has told so far."""

    file: Incoming
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

    def part_begin(self) -> None:
        self._part = ""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._refuse_long_head()

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._refuse_long_head()

    def _refuse_long_head(self) -> None:
        if len(self._header) + len(self._value) > _PART_HEAD_BYTES:
            raise refusal(400, "broken upload", f"the head of a part has a line of over {_PART_HEAD_BYTES} bytes")

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
            if self.metadata is not None:
                raise refusal(422, "several files", "the form has several parts named 'metadata'; send one")
            self.metadata = b""
        else:
            raise refusal(422, "unknown part", "the form may have the parts 'file' and 'metadata' only")

    def part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part != "metadata":
            self.file.take(data[start:end])
            return
        self.metadata = (self.metadata or b"") + data[start:end]
        if len(self.metadata) > _METADATA_BYTES:
            raise refusal(413, "metadata too large", f"the metadata are larger than {_METADATA_BYTES} bytes")

    def end(self) -> None:
        self.ended = True


async def _hear_out(stream: AsyncIterator[bytes], most_bytes: int) -> None:
    """A sender that is cut off in the middle of its body may never read why."""
    passed = 0
    async for chunk in stream:
        passed += len(chunk)
        if passed > most_bytes:
            return
