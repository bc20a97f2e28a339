"""Work -> how long it took."""

import time
from collections.abc import Callable


def wall_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
