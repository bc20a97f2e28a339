"""Range header -> the wanted bytes of a sound, as of RFC 9110 section 14."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from starlette.responses import Response, StreamingResponse

from app.errors import refusal

# Several ranges at once may be answered with the whole, and no player asks for them.
_ONE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Asked:
    """How the request wants its answer."""

    range: str | None
    if_range: str | None
    head_only: bool


def answer(asked: Asked, size: int, tag: str, media_type: str, read: Callable[[int, int], Iterator[bytes]]) -> Response:
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


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    if first:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, stop = max(0, size - int(last)), size
    if start >= stop:
        headers = {"content-range": f"bytes */{size}"}
        raise refusal(416, "range not satisfiable", f"the range is not within the recording's {size} bytes", headers)
    return start, stop
