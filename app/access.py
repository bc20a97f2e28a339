"""Request -> who asks and what they may do; every route of a tenant's passes here first."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from math import ceil
from typing import Annotated, cast
from urllib.parse import urlsplit

import limits
import sqlalchemy as sa
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app import keys
from app.errors import refusal
from app.keys import Key, Role
from app.tables import DEFAULT_TENANT

_FAILURES = limits.parse("10/minute")
_FAILURES_OF_ADDRESS = limits.parse("60/minute")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Caller:
    tenant_id: str
    roles: frozenset[Role]
    key: Key | None  # None: the user of this machine, before any key is made
    token: str = ""

    @property
    def name(self) -> str:
        return f"key:{self.key.prefix}" if self.key else "local"

    def may(self, role: Role) -> bool:
        return role in self.roles


class Door:
    """Knows keys from forgeries, and how often an address tried forgeries lately; in memory, per process."""

    def __init__(self, database: sa.Engine, on_loopback: bool) -> None:
        self._database, self._on_loopback = database, on_loopback
        self._failures = MovingWindowRateLimiter(MemoryStorage())
        self._requests = MovingWindowRateLimiter(MemoryStorage())

    def admit(self, request: Request) -> Caller:
        """Raises Refused."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme and (local := self.local(request)):
            return local
        key = self.recognise(request, token.strip() if scheme.lower() == "bearer" else "")
        return Caller(key.tenant_id, key.roles, key, token.strip())

    def local(self, request: Request) -> Caller | None:
        """The user of this machine, of whom nothing is asked before the first key is made. Raises Refused."""
        if not self._on_loopback or keys.any_made(self._database):
            return None
        _refuse_strangers_pages(request)
        return Caller(DEFAULT_TENANT, frozenset(Role), None)

    def recognise(self, request: Request, token: str) -> Key:
        """Raises Refused if there is no such key, or too many of this address were none."""
        address = request.client.host if request.client else "nowhere"
        prefix = keys.prefix_of(token)
        # Guesses at one key are counted apart, so that they lock out nobody but that key's own guesser.
        tries = ((_FAILURES, address, prefix),) if prefix else ((_FAILURES_OF_ADDRESS, address, ""),)
        for limit, *who in tries:
            if not self._failures.test(limit, *who):
                raise refusal(
                    429, "too many failed attempts", "wait a minute, then send a valid key", {"retry-after": "60"}
                )
        key = keys.verified(self._database, token) if prefix else None
        if key is None:
            for limit, *who in tries:
                self._failures.hit(limit, *who)
            raise refusal(
                401,
                "no valid key",
                "send 'Authorization: Bearer KEY' with an API key that is neither revoked nor expired",
                {"www-authenticate": 'Bearer realm="callaudit"'},
            )
        return key

    def count(self, caller: Caller) -> dict[str, str]:
        """The headers that tell how many requests the key has left. Raises Refused when it has none.

        Named as of draft-ietf-httpapi-ratelimit-headers.
        """
        if caller.key is None or caller.key.requests_per_minute is None:
            return {}
        limit = limits.RateLimitItemPerMinute(caller.key.requests_per_minute)
        allowed = self._requests.hit(limit, caller.key.prefix)
        window = self._requests.get_window_stats(limit, caller.key.prefix)
        wait = max(1, ceil(window.reset_time - time.time()))
        headers = {
            "ratelimit-policy": f'"key";q={limit.amount};w=60',
            "ratelimit": f'"key";r={window.remaining};t={wait}',
        }
        if not allowed:
            detail = f"this key has {limit.amount} requests a minute; wait {wait} s"
            raise refusal(429, "too many requests", detail, {**headers, "retry-after": str(wait)})
        return headers


def caller_of(request: Request) -> Caller:
    """Whom the route class has let in."""
    return cast(Caller, request.state.caller)


def needs(role: Role) -> Callable[..., Caller]:
    def check(request: Request, _: Annotated[object, Security(_BEARER)]) -> Caller:
        caller = caller_of(request)
        if not caller.may(role):
            raise refusal(403, "role missing", f"this needs a key with the role '{role}'")
        return caller

    return check


_BEARER = HTTPBearer(auto_error=False, description="An API key: cak_…")

Ingesting = Annotated[Caller, Depends(needs(Role.INGEST))]
Reading = Annotated[Caller, Depends(needs(Role.READ))]
Reviewing = Annotated[Caller, Depends(needs(Role.REVIEW))]
Administering = Annotated[Caller, Depends(needs(Role.ADMIN))]


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_strangers_pages(request: Request) -> None:
    """Without keys, a web page opened on this machine must not reach the service through the user's browser."""
    origin = request.headers.get("origin")
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}")
        ours = host.hostname in _LOCAL_NAMES and (origin is None or urlsplit(origin).netloc == host.netloc)
    except ValueError:
        ours = False
    if not ours:
        raise refusal(
            403, "foreign origin", "without API keys the service answers requests to localhost only, from no other page"
        )
