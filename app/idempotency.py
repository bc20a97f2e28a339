"""A repeated POST with the same Idempotency-Key -> the answer that the first one got, for 24 hours.

Kept are answers of requests that did something, and that of an unforeseen error, which may have. A refused request
did nothing: its key is free again. Answers hold transcripts and new API keys, so each is sealed with the token that it
was given to; for the same reason a key means nothing to another API key than the one that brought it.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, cast
from uuid import UUID, uuid4, uuid5

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.access import Caller
from app.database import hold
from app.errors import problem_of, refusal
from app.logs import where
from app.tables import idempotent_requests as rows

_log = logging.getLogger(__name__)

KEPT_FOR = timedelta(hours=24)
LONGEST_KEY = 255
HEADER = "idempotency-key"
_DEAD_AFTER = timedelta(seconds=60)  # a request in flight says more often than that that it is alive
_ALIVE_EVERY_S = 10.0
_NONCE_BYTES = 12
_KEPT_HEADERS = ("cache-control", "content-type", "etag", "location")


class Repeated(Exception):
    """The request was answered before; this is not an error."""

    def __init__(self, answer: Response) -> None:
        super().__init__("answered before")
        self.answer = answer


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def pack(self) -> bytes:
        return json.dumps([self.status, dict(self.headers)]).encode() + b"\n" + self.body

    @classmethod
    def unpack(cls, packed: bytes) -> "_Answer":
        head, _, body = packed.partition(b"\n")
        status, headers = json.loads(head)
        return cls(status, headers, body)


class Once:
    """One request that may be a repeated one. Without a key all of this does nothing."""

    def __init__(self, database: sa.Engine, caller: Caller, path: str, key: str | None) -> None:
        """Raises Refused if the key has not the form of one."""
        if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
            raise refusal(400, "bad idempotency key", f"send 1 to {LONGEST_KEY} printable ASCII characters, as a UUID")
        self._database, self._caller, self._path, self._key = database, caller, path, key
        self._id: str | None = None
        self._alive_due = 0.0

    @property
    def _key_sha256(self) -> str:
        return hashlib.sha256((self._key or "").encode()).hexdigest()

    @property
    def _row(self) -> tuple[sa.ColumnElement[bool], ...]:
        return (rows.c.tenant_id == self._caller.tenant_id, rows.c.key_sha256 == self._key_sha256)

    @property
    def _mine(self) -> tuple[sa.ColumnElement[bool], ...]:
        return (*self._row, rows.c.id == self._id, rows.c.answer.is_(None))

    async def is_known(self) -> bool:
        """Whether a request with this key came before. Such a one was let in already, so it passes all quotas."""
        return self._key is not None and await run_in_threadpool(self._find)

    async def enter(self, *payload: str | bytes) -> None:
        """From here on the request may do something.

        Raises Repeated if it was answered before, Refused if it had another payload then, or is not answered yet.
        """
        if self._key is None:
            return
        fingerprint = _fingerprint(self._path, self._caller.name, *payload)
        sealed = await run_in_threadpool(self._claim, fingerprint)
        if sealed is not None:
            raise Repeated(self._open(sealed))

    def new_id(self, place: int = 0) -> str:
        """The same in every attempt at this request, so that one that died half-way does nothing twice."""
        return str(uuid5(UUID(self._id), str(place)) if self._id else uuid4())

    @property
    def is_claimed(self) -> bool:
        return self._id is not None

    def still_here(self) -> None:
        """Call it now and then in what takes long."""
        if self._id is None or time.monotonic() < self._alive_due:
            return
        self._alive_due = time.monotonic() + _ALIVE_EVERY_S
        try:
            with self._database.begin() as connection:
                connection.execute(sa.update(rows).where(*self._mine).values(alive_at=datetime.now(UTC)))
        except sa.exc.OperationalError as error:
            _log.warning("a request in flight cannot say that it is alive: %s", where(error))

    async def answered(self, response: Response) -> None:
        if self._id is not None:
            kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
            await self._end(_Answer(response.status_code, kept, bytes(response.body)))

    async def failed(self, error: Exception) -> None:
        if self._id is None:
            return
        if isinstance(error, HTTPException | RequestValidationError | ClientDisconnect):
            await self._end(None)
            return
        problem = problem_of(error)
        if problem.status == 500:
            body = problem.model_dump_json(exclude_none=True).encode()
            await self._end(_Answer(500, {"content-type": "application/problem+json"}, body))
        else:
            # What a lost connection may have committed is found by its id when the request comes again.
            await self._end(None, forget=problem.status < 500)

    async def _end(self, answer: _Answer | None, forget: bool = True) -> None:
        sealed = self._seal(answer.pack()) if answer else None
        try:
            await run_in_threadpool(self._write_end, sealed, forget)
        except sa.exc.SQLAlchemyError as error:
            # It is done all the same. Once it is taken for dead, a repetition finds what it did.
            _log.warning("an answer is not kept for repetitions: %s", where(error))

    def _write_end(self, sealed: bytes | None, forget: bool) -> None:
        with self._database.begin() as connection:
            if sealed is not None:
                connection.execute(sa.update(rows).where(*self._mine).values(answer=sealed))
            elif forget:
                connection.execute(sa.delete(rows).where(*self._mine))
            else:
                long_ago = datetime.now(UTC) - 2 * _DEAD_AFTER
                connection.execute(sa.update(rows).where(*self._mine).values(alive_at=long_ago))

    def _find(self) -> bool:
        young = rows.c.claimed_at > datetime.now(UTC) - KEPT_FOR
        with self._database.connect() as connection:
            return bool(connection.execute(sa.select(sa.exists().where(*self._row, young))).scalar())

    def _claim(self, fingerprint: str) -> bytes | None:
        """The sealed answer, if there is one; None means that the request is this one's to answer."""
        now = datetime.now(UTC)
        key_sha256 = self._key_sha256
        with self._database.begin() as connection:
            hold(connection, f"idempotency/{self._caller.tenant_id}/{key_sha256}")
            connection.execute(sa.delete(rows).where(*self._row, rows.c.claimed_at <= now - KEPT_FOR))
            row = connection.execute(sa.select(rows).where(*self._row)).one_or_none()
            if row is None:
                claimed = str(uuid4())
                connection.execute(
                    sa.insert(rows).values(
                        tenant_id=self._caller.tenant_id,
                        key_sha256=key_sha256,
                        id=claimed,
                        fingerprint=fingerprint,
                        claimed_at=now,
                        alive_at=now,
                    )
                )
            elif row.fingerprint != fingerprint:
                raise refusal(
                    422,
                    "idempotency key reused",
                    "this Idempotency-Key came before with another payload, to another address or with another API"
                    " key; send a new one with each new request",
                )
            elif row.answer is None and row.alive_at > now - _DEAD_AFTER:
                detail = "the first request with this Idempotency-Key is not answered yet; send it again in a moment"
                raise refusal(409, "request in flight", detail, {"retry-after": "2"})
            else:
                claimed = row.id
                connection.execute(sa.update(rows).where(*self._row).values(alive_at=now))
        self._id = claimed
        self._alive_due = time.monotonic() + _ALIVE_EVERY_S
        return cast(bytes, row.answer) if row is not None and row.answer is not None else None

    def _cipher(self) -> AESGCM:
        secret = f"{self._caller.token}\n{self._key}".encode()
        derive = HKDF(SHA256(), 32, salt=(self._id or "").encode(), info=b"callaudit idempotent answer")
        return AESGCM(derive.derive(secret))

    def _seal(self, plain: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, plain, None)

    def _open(self, sealed: bytes) -> Response:
        try:
            packed = self._cipher().decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except InvalidTag:
            raise refusal(500, "kept answer damaged", "the answer that was kept is not readable any more") from None
        answer = _Answer.unpack(packed)
        return Response(answer.body, answer.status, {**answer.headers, "idempotent-replayed": "true"})


def same_json(body: bytes) -> bytes:
    """Equal for bodies that say the same, whatever their order and blanks."""
    try:
        return json.dumps(json.loads(body), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return body


def forget_old(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(rows).where(rows.c.claimed_at <= datetime.now(UTC) - KEPT_FOR))


def _fingerprint(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(content) + content)
    return digest.hexdigest()


def _once(request: Request) -> Once:
    return cast(Once, request.state.once)


OnceDep = Annotated[Once, Depends(_once)]
