"""Bad requests and uploads at a started service, each with the answer that it gets; nothing breaks and nothing leaks.

What stands elsewhere is not repeated: files that are no recordings in tests/test_bad_input.py, names of uploaded files
and full disks in tests/test_service.py, objects of others in test_ways_in.py, addresses of webhooks in
test_webhook_addresses.py, other tenants' data on every route in test_access.py.
"""

import base64
import gzip
import hashlib
import hmac
import io
import json
import re
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
import soundfile
from standardwebhooks import Webhook, WebhookVerificationError

from app import keys
from app.keys import NewKey
from models.call import Label
from tests.conftest import ROOT
from tests.lenders.conftest import ALL_ROLES, Said, Started, expect_problem
from tests.lenders.receiver import Receiver, receiver

SECRET = "只有南行才知道的话"
MIB = 2**20


def _wav(seconds: float = 0.2) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.sin(np.arange(int(8000 * seconds))), 8000, format="WAV")
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as folder:
        folder.writestr("a.wav", bytes(10 * MIB))
    return file.getvalue()


def _form(*parts: tuple[str, bytes]) -> bytes:
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%s"; filename="x"\r\n\r\n%s\r\n' % (name.encode(), content)
        for name, content in parts
    )
    return body + b"--b--\r\n"


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


WAV = _wav()
BOMB = gzip.compress(bytes(20 * MIB))  # 20 kB
UP = "../../../../etc/passwd"
SQL = "'; DROP TABLE calls; --"
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"
SOUND = {"content-type": "audio/wav"}
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=b"}
TEXT_FIELDS = ("call_id", "collector_id", "agency", "borrower_ref")
TEXTS = "POST /v1/utterances/classify"
REVIEW = "POST /v1/calls/{call}/utterances/0/reviews"

Sent = tuple[str, str, dict[str, str], bytes, int, str]
# What it is, the request, its headers, its body; and the answer: its status, and which problem of docs/api-problems.md.
# {call} is a finished call of one's own, {theirs} another tenant's.
REQUESTS: list[Sent] = [
    # ways out of a folder, in every text that may be sent
    ("traversal as call", f"GET /v1/calls/{quote(UP, '')}", {}, b"", 404, ""),
    ("traversal with backslashes", "GET /v1/calls/..%5C..%5Cetc%5Cpasswd", {}, b"", 404, "unknown-call"),
    ("traversal encoded twice", "GET /v1/calls/%252e%252e%252fetc", {}, b"", 404, "unknown-call"),
    ("traversal as call's audio", "GET /v1/calls/..%5C..%5Ccallaudit.db/audio", {}, b"", 404, "unknown-call"),
    ("traversal as webhook", f"DELETE /v1/webhooks/{quote(UP, '')}", {}, b"", 404, ""),
    ("traversal as key", "DELETE /v1/keys/..%5C..%5Cetc", {}, b"", 404, "unknown-key"),
    ("traversal as subject", f"GET /v1/audit?subject={UP}", {}, b"", 200, ""),
    ("traversal as collector", f"GET /v1/calls?collector_id={UP}", {}, b"", 200, ""),
    ("traversal as agency", f"GET /v1/utterances?agency={UP}", {}, b"", 200, ""),
    ("traversal as words", f"GET /v1/utterances?q={UP}", {}, b"", 200, ""),
    ("traversal as next page", f"GET /v1/agencies?after={UP}", {}, b"", 200, ""),
    ("traversal as cursor", f"GET /v1/calls?cursor={UP}", {}, b"", 422, "unknown-cursor"),
    ("traversal as fields", f"GET /v1/calls?fields={UP}", {}, b"", 422, "unknown-field"),
    ("traversal as every metadata", "POST /v1/calls", FORM,
     _form(("file", WAV), ("metadata", json.dumps(dict.fromkeys(TEXT_FIELDS, UP)).encode())), 202, ""),
    ("traversal as object", "POST /v1/calls", JSON,
     b'{"object": "s3://north-bank-calls/../south-bank-calls/a.wav"}', 422, "object-not-allowed"),
    ("traversal as part", "POST /v1/calls", FORM, _form((UP, WAV)), 422, "unknown-part"),
    ("traversal as key's name", "POST /v1/keys", JSON, json.dumps({"name": UP, "roles": ["read"]}).encode(), 201, ""),
    ("traversal as note", REVIEW, JSON, json.dumps({"kind": "dispute", "note": UP}).encode(), 201, ""),
    ("traversal as reason", "PUT /v1/calls/{call}/hold", JSON, json.dumps({"because": UP}).encode(), 204, ""),
    ("traversal as idempotency key", TEXTS, {**JSON, "idempotency-key": UP}, b'{"texts": ["a"]}', 200, ""),
    # SQL and HTML where text is kept and looked for
    ("SQL as every metadata", "POST /v1/calls?" + "&".join(f"{name}={quote(SQL)}" for name in TEXT_FIELDS), SOUND,
     WAV, 202, ""),
    ("HTML as every metadata", "POST /v1/calls?" + "&".join(f"{name}={quote(HTML)}" for name in TEXT_FIELDS), SOUND,
     WAV, 202, ""),
    ("SQL as collector", f"GET /v1/calls?collector_id={quote(SQL)}", {}, b"", 200, ""),
    ("SQL as call", f"GET /v1/calls/{quote(SQL)}", {}, b"", 404, "unknown-call"),
    ("SQL that is always true", "GET /v1/utterances?q=%27%20OR%20%271%27%3D%271", {}, b"", 200, ""),
    ("syntax of the text index", "GET /v1/utterances?q=%22%20OR%20text%3A%2A%20NEAR(", {}, b"", 200, ""),
    ("wildcards of LIKE", "GET /v1/utterances?q=%25", {}, b"", 200, ""),
    ("HTML as note", REVIEW, JSON, json.dumps({"kind": "dispute", "note": HTML}).encode(), 201, ""),
    ("HTML as address", f"GET /v1/{quote(HTML)}", {}, b"", 404, ""),
    ("line breaks as address", "GET /v1/calls/a%0D%0ASet-Cookie:%20a=b", {}, b"", 404, "unknown-call"),
    # JSON that is none, or more than one thing
    ("name that stands twice", REVIEW, JSON, b'{"verdict": "confirm", "verdict": "reject"}', 422, "unclear-json"),
    ("name that stands twice inside", "POST /v1/calls:batch", JSON,
     b'{"calls": [{"object": "s3://north-bank-calls/a", "object": "s3://south-bank-calls/a"}]}', 422, "unclear-json"),
    ("metadata with a name twice", "POST /v1/calls", FORM,
     _form(("file", WAV), ("metadata", b'{"agency": "a", "agency": "b"}')), 422, "unclear-json"),
    ("NaN", "POST /v1/webhooks/x/rotate", JSON, b'{"old_signs_for_hours": NaN}', 422, "unclear-json"),
    ("Infinity", "POST /v1/webhooks/x/rotate", JSON, b'{"old_signs_for_hours": -Infinity}', 422, "unclear-json"),
    ("number beyond all floats", "POST /v1/webhooks/x/rotate", JSON, b'{"old_signs_for_hours": 1e999}', 422,
     "invalid-request"),
    ("integer of 5,000 digits", "PUT /v1/retention", JSON, b'{"days": 1' + b"0" * 5000 + b"}", 422, "unclear-json"),
    ("integer beyond 64 bits", "PUT /v1/retention", JSON, b'{"days": 18446744073709551616}', 422, "invalid-request"),
    ("100,000 levels", "POST /v1/keys", JSON, b'{"name": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", 422, "unclear-json"),
    ("100,000 levels to label", TEXTS, JSON, b'{"texts": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", 422, "unclear-json"),
    ("levels that never end", "POST /v1/keys", JSON, b"[" * 10**5, 422, "unclear-json"),
    ("bytes that are not UTF-8", REVIEW, JSON, b'{"kind": "dispute", "note": "\xff\xfe"}', 422, "unclear-json"),
    ("UTF-8 that says too much", REVIEW, JSON, b'{"kind": "dispute", "note": "\xc0\xaf"}', 422, "unclear-json"),
    ("UTF-16", "POST /v1/keys", JSON, '{"roles": ["read"]}'.encode("utf-16"), 422, "unclear-json"),
    ("half a character", REVIEW, JSON, b'{"kind": "dispute", "note": "\\ud800"}', 422, "unclear-json"),
    ("half a character as name", "POST /v1/keys", JSON, b'{"\\udc00": 1, "roles": ["read"]}', 422, "unclear-json"),
    ("NUL as text", REVIEW, JSON, b'{"kind": "dispute", "note": "a\\u0000b"}', 422, "unclear-json"),
    ("NUL in metadata", "POST /v1/calls", FORM,
     _form(("file", WAV), ("metadata", b'{"agency": "\\u0000"}')), 422, "unclear-json"),
    ("NUL in an object's metadata", "POST /v1/calls", JSON,
     b'{"object": "s3://north-bank-calls/a", "metadata": {"agency": "\\u0000"}}', 422, "unclear-json"),
    ("bare NUL", "POST /v1/keys", JSON, b'{"name": "\x00"}', 422, "invalid-request"),
    ("NUL in an address", "GET /v1/calls/a%00b", {}, b"", 404, ""),
    ("NUL in a query", "GET /v1/utterances?q=%00%00%00", {}, b"", 422, "invalid-request"),
    ("NUL in a bare call's metadata", "POST /v1/calls?agency=%00", SOUND, WAV, 422, "invalid-request"),
    ("list for an object", "POST /v1/keys", JSON, b"[]", 422, "invalid-request"),
    ("nothing for an object", "POST /v1/keys", JSON, b"", 422, "invalid-request"),
    ("1,000 unknown fields", "POST /v1/keys", JSON, json.dumps({f"x{i}": 1 for i in range(1000)}).encode(), 422,
     "invalid-request"),
    ("2 MiB where little is due", "POST /v1/keys", JSON, b" " * 2 * MIB, 413, "request-too-large"),
    ("65 KiB of metadata", "POST /v1/calls", FORM, _form(("metadata", b" " * 65 * 1024)), 413, "metadata-too-large"),
    # media types, and bodies that are larger than they look
    ("text for JSON", "POST /v1/keys", {"content-type": "text/plain"}, b'{"roles": ["read"]}', 415,
     "unsupported-media-type"),
    ("XML with an entity", "POST /v1/keys", {"content-type": "application/xml"},
     b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', 415, "unsupported-media-type"),
    ("web form for JSON", TEXTS, {"content-type": "application/x-www-form-urlencoded"}, b"texts=a", 415,
     "unsupported-media-type"),
    ("text for a recording", "POST /v1/calls", {"content-type": "text/html"}, WAV, 415, "unsupported-media-type"),
    ("media type that is none", "POST /v1/calls", {"content-type": "/;;=,"}, WAV, 415, "unsupported-media-type"),
    ("form without a boundary", "POST /v1/calls", {"content-type": "multipart/form-data"}, b"--b--", 415,
     "unsupported-media-type"),
    ("form with a file twice", "POST /v1/calls", FORM, _form(("file", WAV), ("file", WAV)), 422, "several-files"),
    ("form with metadata twice", "POST /v1/calls", FORM,
     _form(("file", WAV), ("metadata", b"{}"), ("metadata", b'{"agency": "b"}')), 422, "several-files"),
    ("form whose head never ends", "POST /v1/calls", FORM, b"--b\r\nX: " + b"a" * MIB, 400, "broken-upload"),
    ("compressed JSON of 20 MiB", "POST /v1/keys", {**JSON, "content-encoding": "gzip"}, BOMB, 415, "encoded-body"),
    ("compressed texts", TEXTS, {**JSON, "content-encoding": "deflate, gzip"}, BOMB, 415, "encoded-body"),
    ("compressed recording", "POST /v1/calls", {**SOUND, "content-encoding": "gzip"}, BOMB, 415, "encoded-body"),
    ("compressed form", "POST /v1/calls", {**FORM, "content-encoding": "br"}, BOMB, 415, "encoded-body"),
    ("gzip as a recording", "POST /v1/calls", SOUND, BOMB, 415, "unknown-format"),
    ("zip as a recording", "POST /v1/calls", SOUND, _zip(), 415, "unknown-format"),
    # methods
    ("deletion by another name", "POST /v1/calls/{call}", {"x-http-method-override": "DELETE"}, b"", 405, ""),
    ("deletion dressed as reading", "GET /v1/calls/{call}?_method=DELETE", {"x-method-override": "DELETE"}, b"", 200,
     ""),
    ("TRACE", "TRACE /v1/calls", {}, b"", 405, ""),
    ("method of another protocol", "PROPFIND /v1/calls", {}, b"", 405, ""),
    ("method that nobody knows", "A" * 5000 + " /v1/calls", {}, b"", 405, ""),
    # ranges and conditions
    ("5,000 ranges", "GET /v1/calls/{call}/audio", {"range": "bytes=" + ",".join(["0-"] * 5000)}, b"", 200, ""),
    ("range of 5,000 digits", "GET /v1/calls/{call}/audio", {"range": "bytes=0-" + "9" * 5000}, b"", 200, ""),
    ("range beyond 64 bits", "GET /v1/calls/{call}/audio", {"range": "bytes=18446744073709551616-"}, b"", 200, ""),
    ("range beyond the end", "GET /v1/calls/{call}/audio", {"range": "bytes=999999999999-"}, b"", 416,
     "range-not-satisfiable"),
    ("range with a minus too many", "GET /v1/calls/{call}/audio", {"range": "bytes=--1"}, b"", 200, ""),
    ("range on a date that is none", "GET /v1/calls/{call}/audio", {"range": "bytes=0-1", "if-range": "x" * 1000}, b"",
     200, ""),
    ("5,000 tags", "GET /v1/calls/{call}", {"if-none-match": ", ".join(['"x"'] * 5000)}, b"", 200, ""),
    ("tag that never closes", "GET /v1/calls/{call}", {"if-none-match": 'W/"' * 5000}, b"", 200, ""),
    ("any tag of an unknown call", "GET /v1/calls/x", {"if-none-match": "*"}, b"", 404, "unknown-call"),
    # pages
    ("cursor that is no base64", "GET /v1/calls?cursor=%E4%B8%80!", {}, b"", 422, "unknown-cursor"),
    ("cursor before the first", f"GET /v1/calls?cursor={_cursor('-1')}", {}, b"", 422, "unknown-cursor"),
    ("cursor beyond 64 bits", f"GET /v1/calls?cursor={_cursor('9' * 25)}", {}, b"", 422, "unknown-cursor"),
    ("cursor with SQL", f"GET /v1/calls?cursor={_cursor('1 OR 1=1')}", {}, b"", 422, "unknown-cursor"),
    ("cursor written otherwise", f"GET /v1/calls?cursor={_cursor('+1_0')}", {}, b"", 422, "unknown-cursor"),
    ("cursor of 5,000 digits", f"GET /v1/calls?cursor={_cursor('9' * 5000)}", {}, b"", 422, "invalid-request"),
    ("page before the first", "GET /v1/utterances?before=-1", {}, b"", 422, "invalid-request"),
    ("page beyond 64 bits", "GET /v1/audit?before=9223372036854775808", {}, b"", 422, "invalid-request"),
    ("page of a billion", "GET /v1/calls?limit=1000000000", {}, b"", 422, "invalid-request"),
    ("fields without end", f"GET /v1/calls?fields={','.join(['id'] * 10_000)}", {}, b"", 422, "unknown-field"),
    ("fields inside Python", "GET /v1/calls/{call}?fields=report.__class__", {}, b"", 422, "unknown-field"),
    ("utterance of 5,000 digits", f"POST /v1/calls/{{call}}/utterances/{'9' * 5000}/reviews", JSON,
     b'{"verdict": "confirm"}', 422, "invalid-request"),
    ("utterance before the first", "POST /v1/calls/{call}/utterances/-1/reviews", JSON, b'{"verdict": "confirm"}', 404,
     "unknown-utterance"),
    # times
    ("call before the year 1", "POST /v1/calls?called_at=0001-01-01T00:00:00%2B14:00", SOUND, WAV, 422,
     "invalid-request"),
    ("search after the year 9999", "GET /v1/calls?called_from=9999-12-31T23:59:59-14:00", {}, b"", 422,
     "invalid-request"),
    ("seconds for a time", "GET /v1/collectors?called_from=1e400", {}, b"", 422, "invalid-request"),
    # idempotency keys
    ("empty idempotency key", TEXTS, {**JSON, "idempotency-key": ""}, b'{"texts": ["a"]}', 400, "bad-idempotency-key"),
    ("idempotency key of 60,000 characters", TEXTS, {**JSON, "idempotency-key": "k" * 60_000}, b'{"texts": ["a"]}',
     400, "bad-idempotency-key"),
    ("idempotency key with a tab", TEXTS, {**JSON, "idempotency-key": "a\tb"}, b'{"texts": ["a"]}', 400,
     "bad-idempotency-key"),
    ("idempotency key with SQL", TEXTS, {**JSON, "idempotency-key": SQL}, b'{"texts": ["a"]}', 200, ""),
    # who is asked, and who asks
    ("host of others", "GET /v1/calls", {"host": "evil.example"}, b"", 200, ""),
    ("host that is none", "GET /v1/calls/x", {"host": "["}, b"", 404, "unknown-call"),
    ("host that is none, nowhere", "GET /nowhere", {"host": "[::1"}, b"", 404, ""),
    ("host that is none, kept answer", TEXTS, {**JSON, "host": "[", "idempotency-key": "h"}, b'{"texts": ["a"]}', 200,
     ""),
    ("host behind a proxy", "GET /v1/calls", {"x-forwarded-host": "evil.example", "forwarded": "host=e"}, b"", 200, ""),
    ("another tenant's call", "GET /v1/calls/{theirs}", {}, b"", 404, "unknown-call"),
    ("another tenant's audio", "GET /v1/calls/{theirs}/audio", {}, b"", 404, "unknown-call"),
    ("another tenant's collector", "GET /v1/utterances?collector_id=south-collector", {}, b"", 200, ""),
    ("tenant in a header", "GET /v1/calls/{theirs}", {"x-tenant-id": "south-bank"}, b"", 404, "unknown-call"),
    ("no key", "GET /v1/calls", {"authorization": ""}, b"", 401, "no-valid-key"),
    ("key of another scheme", "GET /v1/calls", {"authorization": "Basic YWRtaW46YWRtaW4="}, b"", 401, "no-valid-key"),
    ("token that signs itself", "GET /v1/calls", {"authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."}, b"",
     401, "no-valid-key"),
    ("key with a forged secret", "GET /v1/calls", {"authorization": "Bearer {forged}"}, b"", 401, "no-valid-key"),
    ("key that expired", "GET /v1/calls", {"authorization": "Bearer {expired}"}, b"", 401, "no-valid-key"),
    ("key that was revoked", "GET /v1/calls", {"authorization": "Bearer {revoked}"}, b"", 401, "no-valid-key"),
    ("key in the address", "GET /v1/calls?access_token={good}", {"authorization": ""}, b"", 401, "no-valid-key"),
    ("key in a cookie", "GET /v1/calls", {"authorization": "", "cookie": "token={good}"}, b"", 401, "no-valid-key"),
    ("two keys at once", "GET /v1/calls", {"authorization": "Bearer {good}, Bearer {good}"}, b"", 401, "no-valid-key"),
    ("key of 50,000 characters", "GET /v1/calls", {"authorization": "Bearer cak_" + "a" * 50_000}, b"", 401,
     "no-valid-key"),
]  # fmt: skip

# What no HTTP library sends: the bytes, and the status of the answer. KEY is a good key's header.
RAW: list[tuple[str, bytes, int]] = [
    ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", 400),
    ("header of 1 MiB", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"a" * MIB + b"\r\n\r\n", 400),
    ("200,000 headers", b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200_000 + b"\r\n", 400),
    ("address of 1 MiB", b"GET /" + b"a" * MIB + b" HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no host", b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    ("two hosts", b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("NUL in a header", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
    ("folded header", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400),
    ("address of another server", b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n"
     b"Connection: close\r\n\r\n", 404),
    ("tunnel to another server", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n", 404),
    ("negative length", b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    ("length in hexadecimal", b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nContent-Length: 0x10\r\n\r\n", 400),
    ("two lengths", b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    ("length that is too small", b"POST /v1/calls HTTP/1.1\r\nHost: a\r\nKEYContent-Type: audio/wav\r\n"
     b"Connection: close\r\nContent-Length: 4\r\n\r\nRIFFGET /v1/keys HTTP/1.1\r\nHost: a\r\nKEY\r\n", 415),
    ("length that is too large", b"POST /v1/calls HTTP/1.1\r\nHost: a\r\nKEYContent-Type: audio/wav\r\n"
     b"Content-Length: 1000\r\n\r\nRIFF", 408),
    ("length of an exabyte", b"POST /v1/calls HTTP/1.1\r\nHost: a\r\nKEYContent-Type: audio/wav\r\n"
     b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 1000000000000000000\r\n\r\n", 413),
    ("length and chunks", b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/keys HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("chunk that is no number", b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nKEYTransfer-Encoding: chunked\r\n\r\n"
     b"zz\r\n", 400),
    ("chunk of 2^80 bytes", b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nKEYTransfer-Encoding: chunked\r\n\r\n"
     b"100000000000000000000\r\n", 400),
    ("two encodings", b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400),
    ("switch to a web socket", b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\n"
     b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 200),
    ("switch to HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404),
]  # fmt: skip


@dataclass
class Ground:
    """What the table names."""

    started: Started
    call: str
    theirs: str
    tokens: dict[str, str]

    def filled(self, text: str) -> str:
        known = {"call": self.call, "theirs": self.theirs, **self.tokens}
        return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), text)

    def nothing_leaks_in(self, body: bytes, sent: str) -> None:
        told = body.decode("utf8", "replace")
        inner = (
            "Traceback", 'File "', ".py", "site-packages", "sqlite", "sqlalchemy", "psycopg", "botocore", "uvicorn",
            str(ROOT), str(self.started.settings.data_dir), "south-bank-calls/", "root:x", SECRET, "south-collector",
        )  # fmt: skip
        assert [word for word in inner if word in told and word not in sent] == [], told[:500]


@pytest.fixture(scope="module")
def ground(started: Started) -> Iterator[Ground]:
    north, now = started.north, datetime.now(UTC)
    with started.database.begin() as connection:
        good = keys.create(connection, NewKey(north.id, ALL_ROLES))[1]
        expired = keys.create(connection, NewKey(north.id, ALL_ROLES, expires_at=now - timedelta(seconds=1)))[1]
        revoked = keys.create(connection, NewKey(north.id, ALL_ROLES))[1]
        keys.revoke(connection, str(keys.prefix_of(revoked)), north.id)
    tokens = {"good": good, "expired": expired, "revoked": revoked, "forged": good[:-43] + "b" * 43}
    call = north.call(Said("您好"), Said("不还就打断你的腿", (Label.THREAT,)), collector_id="c-17")
    yield Ground(started, call, started.south.call(Said(SECRET), collector_id="south-collector"), tokens)
    assert north.get(f"/v1/calls/{call}").json()["status"] == "done"
    assert started.client.get("/readyz").json() == {"status": "ready"}
    assert SECRET in started.south.get("/v1/utterances").text
    assert "Traceback" not in started.program.log
    assert "unforeseen" not in started.program.log


@pytest.mark.parametrize(
    ("request_line", "headers", "body", "status", "kind"), [sent[1:] for sent in REQUESTS], ids=[s[0] for s in REQUESTS]
)
def test_bad_request_gets_its_answer(
    *, ground: Ground, request_line: str, headers: dict[str, str], body: bytes, status: int, kind: str
) -> None:
    method, _, path = ground.filled(request_line).partition(" ")
    sent = {"authorization": f"Bearer {ground.tokens['good']}", **headers}
    sent = {name: ground.filled(value) for name, value in sent.items() if value or name == "idempotency-key"}
    answer = ground.started.client.request(method, path, headers=sent, content=body or None)
    ground.nothing_leaks_in(answer.content, path + str(headers) + body.decode("utf8", "replace"))
    assert answer.status_code == status, answer.text[:500]
    assert len(answer.content) < 20_000
    if status >= 400:
        problem = expect_problem(answer, status)
        assert problem["type"] == (f"urn:callaudit:problem:{kind}" if kind else "about:blank"), problem
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if status == 405:
        allowed = answer.headers["allow"].split(", ")
        assert method not in allowed
        assert len(set(allowed)) == len(allowed)
    assert "set-cookie" not in answer.headers
    assert "evil.example" not in answer.headers.get("location", "")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/calls", "GET, POST"),
        ("/v1/calls/x", "DELETE, GET"),
        ("/v1/calls/x/audio", "GET, HEAD"),
        ("/v1/calls/x/hold", "DELETE, PUT"),
        ("/v1/utterances/classify", "POST"),
    ],
)
def test_all_methods_that_an_address_takes_are_named(started: Started, path: str, allowed: str) -> None:
    assert started.client.request("OPTIONS", path).headers["allow"] == allowed


def test_there_are_as_many_as_is_told() -> None:
    names = [sent[0] for sent in REQUESTS] + [sent[0] for sent in RAW]
    assert len(names) == len(set(names)) >= 60
    assert f"{len(names)} bad requests" in (ROOT / "docs" / "operations.md").read_text("utf8")


@pytest.mark.parametrize(("sent", "status"), [raw[1:] for raw in RAW], ids=[raw[0] for raw in RAW])
def test_bad_bytes_get_their_answer(ground: Ground, sent: bytes, status: int) -> None:
    key = f"Authorization: Bearer {ground.tokens['good']}\r\n".encode()
    with connected(ground.started) as line:
        line.sendall(sent.replace(b"KEY", key))
        told = read_to_the_end(line)
    ground.nothing_leaks_in(told, "")
    assert told.startswith(b"HTTP/1.1 %d " % status), told[:300]
    assert b"cak_" not in told  # of a request within a request nothing is told
    if status >= 400:
        head, _, body = told.partition(b"\r\n\r\n")
        assert b"content-type: application/problem+json" in head
        assert json.loads(body[: body.index(b"}") + 1])["status"] == status


def test_requests_that_trickle_in_block_nobody_and_are_closed(ground: Ground) -> None:
    key = f"Authorization: Bearer {ground.tokens['good']}\r\n".encode()
    head = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: "
    body = b"POST /v1/calls HTTP/1.1\r\nHost: a\r\n" + key + b"Content-Type: audio/wav\r\nContent-Length: 99999\r\n\r\n"
    nobody = b"POST /v1/keys HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n"  # told to go, and goes on
    lines = []
    for start in [head] * 20 + [body] * 10 + [nobody] * 10 + [b""] * 10:
        line = connected(ground.started)
        line.sendall(start)
        line.setblocking(False)
        lines.append(line)
    told = dict.fromkeys(range(len(lines)), b"")
    open_lines, deadline, slowest = set(told), time.monotonic() + 60, 0.0
    while open_lines and time.monotonic() < deadline:
        for number in list(open_lines):
            try:
                lines[number].send(b"a")
                while chunk := lines[number].recv(4096):
                    told[number] += chunk
                open_lines.discard(number)
            except BlockingIOError:
                pass
            except OSError:
                open_lines.discard(number)
        began = time.monotonic()
        assert ground.started.client.get("/healthz").status_code == 200
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.2)
    for line in lines:
        line.close()
    assert not open_lines
    assert slowest < 5, slowest
    assert b" 408 " in told[0]
    assert b"application/problem+json" in told[0]
    assert b" 408 " in told[20]


def test_request_after_a_slow_one_on_the_same_line_has_all_its_time_again(ground: Ground) -> None:
    with connected(ground.started) as line:
        for _ in range(3):  # together they take longer than one may
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")
            time.sleep(1)
            line.sendall(b"\r\n")
            answer = b""
            while not answer.endswith(b'{"status":"alive"}'):  # head and body may come apart
                answer += line.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")


def connected(started: Started) -> socket.socket:
    where = urlsplit(started.program.url)
    return socket.create_connection((str(where.hostname), where.port), timeout=30)


def read_to_the_end(line: socket.socket) -> bytes:
    told = b""
    try:
        while chunk := line.recv(65536):
            told += chunk
    except ConnectionResetError:
        pass
    return told


@dataclass(frozen=True)
class Delivery:
    secret: str
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def delivery(ground: Ground) -> Iterator[Delivery]:
    """A real one, as someone on the way has recorded it."""
    north = ground.started.north
    with receiver() as lender:
        made = north.post("/v1/webhooks", json={"url": lender.url, "events": ["call.flagged"]})
        assert made.status_code == 201, made.text
        north.call(Said("不还就打断你的腿", (Label.THREAT,)))
        _wait_for(lender)
        _, headers, body = lender.requests[0]
        yield Delivery(made.json()["secret"], headers, body)
        north.request("DELETE", f"/v1/webhooks/{made.json()['webhook']['id']}")


def is_genuine(delivery: Delivery, headers: dict[str, str], body: bytes, now: datetime) -> bool:
    """The rules of docs/webhooks.md for those who have no library."""
    identity, stamp = headers["webhook-id"], headers["webhook-timestamp"]
    if not stamp.isdecimal() or abs(now.timestamp() - int(stamp)) > 300:
        return False
    key = base64.b64decode(delivery.secret.removeprefix("whsec_"))
    signed = b".".join((identity.encode(), stamp.encode(), body))
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [one.removeprefix("v1,") for one in headers["webhook-signature"].split(" ") if one.startswith("v1,")]
    return any(hmac.compare_digest(one.encode(), wanted.encode()) for one in given)


def _later(headers: dict[str, str], seconds: int) -> dict[str, str]:
    return {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) + seconds)}


@pytest.mark.parametrize(
    ("forge", "after_s"),
    [
        pytest.param(lambda h, b: (h, b), 301, id="sent again after five minutes"),
        pytest.param(lambda h, b: (h, b), 86_400, id="sent again after a day"),
        pytest.param(lambda h, b: (h, b), -301, id="dated ahead"),
        pytest.param(lambda h, b: (_later(h, 3600), b), 3600, id="given a new date"),
        pytest.param(lambda h, b: ({**h, "webhook-id": "msg_" + "0" * 32}, b), 0, id="given a new id"),
        pytest.param(lambda h, b: (h, b.replace(b"threat", b"insult")), 0, id="given other words"),
        pytest.param(lambda h, b: (h, b + b" "), 0, id="made longer"),
        pytest.param(lambda h, b: ({**h, "webhook-signature": "v1,"}, b), 0, id="not signed"),
        pytest.param(lambda h, b: ({**h, "webhook-signature": h["webhook-signature"].replace("v1,", "v1a,")}, b), 0,
                     id="signed by another scheme"),
        pytest.param(lambda h, b: ({**h, "webhook-signature": h["webhook-signature"][:-4] + "AAA="}, b), 0,
                     id="signed nearly right"),
        pytest.param(lambda h, b: (_moved(h), b), 0, id="with the dot moved"),
    ],
)  # fmt: skip
def test_recorded_webhook_is_known_for_what_it_is(
    delivery: Delivery,
    forge: Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]],
    after_s: int,
) -> None:
    sent_at = datetime.fromtimestamp(int(delivery.headers["webhook-timestamp"]), UTC)
    assert is_genuine(delivery, delivery.headers, delivery.body, sent_at)
    assert Webhook(delivery.secret).verify(delivery.body, delivery.headers)["type"] == "call.flagged"
    headers, body = forge(delivery.headers, delivery.body)
    assert not is_genuine(delivery, headers, body, sent_at + timedelta(seconds=after_s))
    if (headers, body) != (delivery.headers, delivery.body):
        with pytest.raises(WebhookVerificationError):
            Webhook(delivery.secret).verify(body, headers)


def _moved(headers: dict[str, str]) -> dict[str, str]:
    """The same bytes in a row, cut elsewhere."""
    stamp = headers["webhook-timestamp"]
    return {**headers, "webhook-id": f"{headers['webhook-id']}.{stamp[:1]}", "webhook-timestamp": stamp[1:]}


def _wait_for(lender: Receiver) -> None:
    deadline = time.monotonic() + 60
    while not lender.requests:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("text", [UP, SQL, HTML], ids=["a way up", "SQL", "HTML"])
def test_what_was_sent_is_given_back_as_data_and_as_nothing_else(ground: Ground, text: str) -> None:
    text = f"{text} {time.monotonic_ns()}"
    known = dict.fromkeys(TEXT_FIELDS, text)
    answer = ground.started.north.post("/v1/calls", params=known, headers=SOUND, content=WAV)
    assert answer.status_code == 202, answer.text
    found = ground.started.north.get("/v1/calls", params={"collector_id": text})
    assert found.headers["content-type"] == "application/json"
    (call,) = found.json()["calls"]
    assert {name: call["metadata"][name] for name in TEXT_FIELDS} == known
    assert list(ground.started.settings.data_dir.parent.glob("passwd*")) == []
