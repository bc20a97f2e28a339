"""How much one address may bring and try; in memory, per process."""

import time
from dataclasses import dataclass, field
from math import ceil

import limits
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

_CODES = limits.parse("60/minute")
_BUNDLES = limits.parse("60/hour")


@dataclass(frozen=True, slots=True)
class Gate:
    """`uploads_per_hour`: files that one address may bring."""

    uploads_per_hour: int
    _counted: MovingWindowRateLimiter = field(default_factory=lambda: MovingWindowRateLimiter(MemoryStorage()))

    def wait_for_upload(self, address: str) -> int:
        """Seconds until this address may bring another file; 0: it may, and this one is counted."""
        return self._wait(limits.RateLimitItemPerHour(self.uploads_per_hour), "upload", address)

    def wait_for_code(self, address: str) -> int:
        """Seconds until this address may try another code, of whatever case."""
        return self._wait(_CODES, "code", address)

    def wait_for_bundle(self, address: str) -> int:
        """Seconds until this address may have another bundle made or checked."""
        return self._wait(_BUNDLES, "bundle", address)

    def _wait(self, limit: limits.RateLimitItem, what: str, address: str) -> int:
        if self._counted.hit(limit, what, address):
            return 0
        return max(1, ceil(self._counted.get_window_stats(limit, what, address).reset_time - time.time()))
