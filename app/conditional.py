"""An answer and If-None-Match -> the answer with its ETag, or 304 where the sender has it already."""

import hashlib
import re

from starlette.responses import Response

_TAG = re.compile(r'(?:W/)?("[^"]*")')


def tagged(response: Response, if_none_match: str | None) -> Response:
    """Tags what was not tagged before; the tag is of the bytes, so redacted and unredacted answers differ."""
    if "etag" not in response.headers:
        response.headers["etag"] = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    response.headers.setdefault("cache-control", "private, no-cache")
    response.headers["vary"] = "Authorization"
    if if_none_match is None or not _matches(if_none_match, response.headers["etag"]):
        return response
    kept = {name: response.headers[name] for name in ("etag", "cache-control", "vary")}
    return Response(status_code=304, headers=kept)


def _matches(if_none_match: str, etag: str) -> bool:
    return if_none_match.strip() == "*" or etag in _TAG.findall(if_none_match)
