"""Range header -> the wanted bytes of a recording, as of RFC 9110 section 14; as it was sent, or redacted."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

from starlette.responses import Response, StreamingResponse

from app.calls import Call
from app.errors import refusal
from app.recordings import Recordings
from pipelines.decode import DecodeLimits, decode
from pipelines.redaction import parts_to_silence
from pipelines.report import Report
from pipelines.silencing import Stretch, write_silenced

# Several ranges at once may be answered with the whole, and no player asks for them.
_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """How the request wants its answer."""

    range: str | None
    if_range: str | None
    head_only: bool


def stream(call: Call, recordings: Recordings, asked: Asked) -> Response:
    """As it was sent."""
    _must_be_there(call, recordings)

    def read(start: int, stop: int) -> Iterator[bytes]:
        return recordings.read(call.tenant_id, call.recording_sha256, start, stop)

    return _answer(asked, call.recording_bytes, call.recording_sha256, call.media_type, read)


def stream_redacted(call: Call, report: Report, recordings: Recordings, limits: DecodeLimits, asked: Asked) -> Response:
    """Utterances in which something private is said are silent; nothing else moves."""
    private = parts_to_silence(report)
    if not private:
        return stream(call, recordings, asked)
    _must_be_there(call, recordings)
    stretches = [Stretch(u.channel, u.start, u.end) for u in private]
    file = TemporaryFile()  # noqa: SIM115 - it is closed once it has been sent
    try:
        with (
            recordings.as_file(call.tenant_id, call.recording_sha256) as path,
            decode(path, limits) as recording,
        ):
            write_silenced(recording, stretches, file)
        size = file.tell()
        response = _answer(
            asked, size, f"redacted-{call.recording_sha256}", "audio/wav", lambda a, b: _read(file, a, b)
        )
    except BaseException:
        file.close()
        raise
    if asked.head_only:
        file.close()
    return response


def _must_be_there(call: Call, recordings: Recordings) -> None:
    if not recordings.has(call.tenant_id, call.recording_sha256):
        raise refusal(404, "recording gone", f"the recording of call {call.id} is no longer stored")


def _answer(
    asked: Asked, size: int, tag: str, media_type: str, read: Callable[[int, int], Iterator[bytes]]
) -> Response:
    etag = f'"{tag}"'
    found = _ONE_RANGE.fullmatch(asked.range.strip()) if asked.range and asked.if_range in (None, etag) else None
    start, stop, status = 0, size, 200
    headers = {
        "accept-ranges": "bytes",
        "etag": etag,
        "cache-control": "private",
        "x-content-type-options": "nosniff",
    }
    if found and any(found.groups()):
        start, stop = _span(found[1], found[2], size)
        status = 206
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["content-length"] = str(stop - start)
    if asked.head_only:
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(read(start, stop), status_code=status, headers=headers, media_type=media_type)


def _read(file: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = stop - start
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    if first:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, stop = max(0, size - int(last)), size
    if start >= stop:
        headers = {"content-range": f"bytes */{size}"}
        raise refusal(416, "range not satisfiable", f"the range is not within the recording's {size} bytes", headers)
    return start, stop
