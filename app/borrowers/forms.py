"""Request -> the fields of a form and its file on disk; a form is never refused for an optional field."""

import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, time
from pathlib import Path
from tempfile import NamedTemporaryFile

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from app.cases import Told
from app.forms import Fields, clean, fields_of
from app.incoming import Upload, persist
from app.pages import CHINA
from app.recordings import MEDIA_TYPE_BYTES
from app.trouble import Trouble
from models.errors import TooLarge
from pipelines.call_times import EARLIEST_CALL, latest_call

_ENVELOPE_BYTES = 256 * 1024  # fields and boundaries come on top of the file
# What a file picker offers; by name, too, since phones know no type of some of them.
RECORDINGS = (
    *("audio/*", "video/mp4", "video/3gpp"),
    *(".amr", ".silk", ".slk", ".aud", ".m4a", ".wma", ".3gp", ".opus", ".caf"),
)
LONGEST_LINE = 1000  # characters; names and numbers
LONGEST_TEXT = 100_000  # a letter


@asynccontextmanager
async def received(request: Request, folder: Path, largest_bytes: int) -> AsyncIterator[tuple[Fields, Upload | None]]:
    """Of a form with a file; the file is removed on leaving, unless it was moved. Raises Trouble or TooLarge."""
    async with received_files(request, folder, largest_bytes, 1) as (fields, files):
        yield fields, files[0] if files else None


@asynccontextmanager
async def received_files(
    request: Request, folder: Path, largest_bytes: int, most_files: int
) -> AsyncIterator[tuple[Fields, Sequence[Upload]]]:
    """As received(); `largest_bytes`: of all files together."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        yield await fields_of(request), ()
        return
    counted = _Counted(request, largest_bytes + _ENVELOPE_BYTES)
    try:
        form = await counted.request.form(max_files=most_files, max_fields=30, max_part_size=_ENVELOPE_BYTES)
    except TooLarge:
        await counted.hear_out(largest_bytes)
        raise TooLarge(largest_bytes) from None
    except (HTTPException, MultipartParseError):
        raise Trouble(400, "broken_form") from None
    files: list[Upload] = []
    try:
        for sent in form.getlist("file"):
            if isinstance(sent, UploadFile) and (sent.size or sent.filename):
                files.append(await run_in_threadpool(_stored, sent, folder))
        if sum(file.size for file in files) > largest_bytes:
            raise TooLarge(largest_bytes)
        yield {name: clean(value) for name, value in form.items() if isinstance(value, str)}, files
    finally:
        await form.close()
        for file in files:
            file.path.unlink(missing_ok=True)


async def hear_out(request: Request, largest_bytes: int) -> None:
    """Drops a form that is refused unread. `largest_bytes`: of its files together."""
    await _Counted(request, 0).hear_out(largest_bytes + _ENVELOPE_BYTES)


def told_of(fields: Fields) -> tuple[Told, bool]:
    """What the borrower says of a call, and whether all of it could be kept as it was written."""
    on, at, file_time = _date(fields.get("called_on", "")), _time(fields.get("called_time", "")), ""
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d", fields.get("file_time", "")):
        day, _, clock = fields["file_time"].partition("T")
        file_time = f"{day}T{clock}" if _date(day) and _time(clock) else ""
    lines = {name: " ".join(fields.get(name, "").split()) for name in ("lender", "caller_number")}
    told = Told(
        called_on=on or "",
        called_time=at or "",
        file_time=file_time,
        **{name: line[:LONGEST_LINE] for name, line in lines.items()},
    )
    whole = on is not None and at is not None and all(len(line) <= LONGEST_LINE for line in lines.values())
    return told, whole


def _date(written: str) -> str | None:
    """None if it is no date, or none of a call; people also write 2026/3/5 and 2026年3月5日."""
    if not written.strip():
        return ""
    found = re.fullmatch(r"\s*(\d{4})\D{1,2}(\d{1,2})\D{1,2}(\d{1,2})\D?\s*", written, re.ASCII)
    try:
        day = date(*map(int, found.groups())) if found else None
        return day.isoformat() if day and EARLIEST_CALL <= day <= latest_call().astimezone(CHINA).date() else None
    except ValueError:
        return None


def _time(written: str) -> str | None:
    if not written.strip():
        return ""
    found = re.fullmatch(r"\s*(\d{1,2})[:：点时](\d{2})(:\d\d)?分?\s*", written)
    try:
        return time(int(found[1]), int(found[2])).strftime("%H:%M") if found else None
    except ValueError:
        return None


class _Counted:
    """The request, whose body ends with TooLarge where it is larger than it may be."""

    def __init__(self, request: Request, most_bytes: int) -> None:
        self._receive, self._most, self._seen = request.receive, most_bytes, 0
        self.request = Request(request.scope, self._next)

    async def hear_out(self, more_bytes: int) -> None:
        """A browser that is cut off in the middle of its body shows no page."""
        until = self._seen + more_bytes
        while self._seen < until:
            message = await self._receive()
            self._seen += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return

    async def _next(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._most:
            raise TooLarge(self._most)
        return message


def _stored(sent: UploadFile, folder: Path) -> Upload:
    digest, head, size = hashlib.sha256(), b"", 0
    with NamedTemporaryFile(dir=folder, delete=False) as file:
        try:
            while chunk := sent.file.read(2**20):
                head = head or chunk[:MEDIA_TYPE_BYTES]
                size += len(chunk)
                digest.update(chunk)
                file.write(chunk)
            persist(file)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return Upload(Path(file.name), digest.hexdigest(), size, head)
