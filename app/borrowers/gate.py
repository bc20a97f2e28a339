"""How much one address may bring and try; in memory, per process."""

import time
from dataclasses import dataclass, field
from math import ceil

import limits
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from app.trouble import Trouble

_CODES = limits.parse("60/minute")
_BUNDLES = limits.parse("60/hour")


@dataclass(frozen=True, slots=True)
class Gate:
    """`uploads_per_hour`: files that one address may bring."""

    uploads_per_hour: int
    _counted: MovingWindowRateLimiter = field(default_factory=lambda: MovingWindowRateLimiter(MemoryStorage()))

    def admit_upload(self, address: str) -> None:
        """Counts another file of this address. Raises Trouble, as the others do, if it must wait."""
        self._admit(limits.RateLimitItemPerHour(self.uploads_per_hour), "upload", address)

    def admit_code(self, address: str) -> None:
        """Another try with a code, of whatever case."""
        self._admit(_CODES, "code", address)

    def admit_bundle(self, address: str) -> None:
        """Another bundle made or checked."""
        self._admit(_BUNDLES, "bundle", address)

    def _admit(self, limit: limits.RateLimitItem, what: str, address: str) -> None:
        if self._counted.hit(limit, what, address):
            return
        wait_s = max(1, ceil(self._counted.get_window_stats(limit, what, address).reset_time - time.time()))
        raise Trouble(429, f"too_many_{what}s", {"retry-after": str(wait_s)}, minutes=ceil(wait_s / 60))
