"""Request -> the fields of a form, cleaned."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from fastapi import Request

from app.trouble import Trouble

_FORM_BYTES = 2**20
# Kept: tab and line feed. Gone: what no database takes or no reader sees.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

Fields = Mapping[str, str]


async def fields_of(request: Request) -> Fields:
    """Of a form without a file. Raises Trouble."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_BYTES:
            raise Trouble(413, "form_too_large")
    pairs = parse_qsl(body.decode("utf8", "replace"), keep_blank_values=True, errors="replace")
    return {name: clean(value) for name, value in pairs}


def clean(text: str) -> str:
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
