"""Cores and memory -> how many workers with how many threads each."""

import os
from dataclasses import dataclass
from pathlib import Path

_OF_MODEL = 1.5 * 2**30  # bytes that a worker takes with a small Whisper and one call at a time
_OF_RUN = 1.0 * 2**30
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Capacity:
    workers: int
    threads: int  # of each worker
    why: str


def capacity(
    workers: int | None = None,
    threads: int | None = None,
    *,
    cores: int | None = None,
    memory: float | None = None,
    of_worker: float = _OF_MODEL,
) -> Capacity:
    """What is given is taken; the rest follows from this machine. `memory`, `of_worker`: bytes.

    One thread a worker is best where memory allows it: decoding in parts leaves threads idle, calls do not.
    """
    cores = cores or len(os.sched_getaffinity(0))
    memory = _memory() if memory is None else memory
    fitting = max(1, int((memory - _OF_RUN) // of_worker))
    chosen = workers or max(1, min(cores if threads is None else cores // threads, fitting))
    each = threads or max(1, cores // chosen)
    return Capacity(chosen, each, f"{cores} cores, {memory / 2**30:.1f} GiB of memory free")


def _memory() -> float:
    """Bytes that are free, within the limit of the container, if there is one."""
    free = next(
        int(line.split()[1]) * 1024.0
        for line in Path("/proc/meminfo").read_text("ascii").splitlines()
        if line.startswith("MemAvailable")
    )
    try:
        limit = (_CGROUP / "memory.max").read_text("ascii").strip()
        used = int((_CGROUP / "memory.current").read_text("ascii"))
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, float(limit) - used)
