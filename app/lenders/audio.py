"""Range header -> the wanted bytes of a recording, as of RFC 9110 section 14."""

import re

from starlette.responses import Response, StreamingResponse

from app.calls import Call
from app.errors import refusal
from app.recordings import Recordings

# Several ranges at once may be answered with the whole, and no player asks for them.
_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def stream(call: Call, recordings: Recordings, wanted: str | None, if_range: str | None, head_only: bool) -> Response:
    size, etag = call.recording_bytes, f'"{call.recording_sha256}"'
    found = _ONE_RANGE.fullmatch(wanted.strip()) if wanted and if_range in (None, etag) else None
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
    if not recordings.has(call.tenant_id, call.recording_sha256):
        raise refusal(404, "recording gone", f"the recording of call {call.id} is no longer stored")
    if head_only:
        return Response(status_code=status, headers=headers, media_type=call.media_type)
    body = recordings.read(call.tenant_id, call.recording_sha256, start, stop)
    return StreamingResponse(body, status_code=status, headers=headers, media_type=call.media_type)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    if first:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, stop = max(0, size - int(last)), size
    if start >= stop:
        headers = {"content-range": f"bytes */{size}"}
        raise refusal(416, "range not satisfiable", f"the range is not within the recording's {size} bytes", headers)
    return start, stop
