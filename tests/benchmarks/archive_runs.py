"""`callaudit archive score` -> what it said, and what it and its workers took together."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from pipelines.archive.schemas import CALLS, FAILURES, UTTERANCES
from pipelines.archive.store import Store

_ROOT = Path(__file__).parent.parent.parent
_LOOKED_EVERY_S = 0.25
_FOUND_GONE_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class Ran:
    """`cpu_s`: of the run and all processes that it started; `peak_mib`: proportional memory of all at one moment."""

    told: str
    wall_s: float
    cpu_s: float
    peak_mib: float
    run_mib: float  # of the first process alone, the one that holds what is known of the archive

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Scored, the same as another, failed, done before."""
        found = re.match(r"(\d+) scored, (\d+) the same as another, (\d+) failed, (\d+) done before", self.told)
        assert found, self.told
        scored, copied, failed, before = map(int, found.groups())
        return scored, copied, failed, before

    @property
    def scoring_s(self) -> float:
        """Of all workers together, as they measured it themselves."""
        found = re.search(r"\(([\d.]+) s of scoring", self.told)
        assert found, self.told
        return float(found[1])


def score(source: Path, dest: Path, *options: str, settings: Mapping[str, str] | None = None) -> Ran:
    """To its end. Raises RuntimeError with what it said if it stopped."""
    before, began = getrusage(RUSAGE_CHILDREN), time.perf_counter()
    with started(source, dest, *options, settings=settings) as process:
        memory = _Memory(process.pid)
        told, complaints = process.communicate()
        memory.stop()
    after = getrusage(RUSAGE_CHILDREN)
    if process.returncode not in (0, 1) or not told:
        raise RuntimeError(f"exit code {process.returncode}: {complaints[-2000:]}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(told, time.perf_counter() - began, cpu_s, memory.peak_mib, memory.peak_of_first_mib)


def killed(source: Path, dest: Path, *options: str, when: Callable[[], bool]) -> bool:
    """Whether it was still at work then; kill -9 to the run alone, whose workers have to notice."""
    with started(source, dest, *options) as process:
        while process.poll() is None and not when():
            time.sleep(0.05)
        children = _children(process.pid)
        alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    _wait_until_gone(children)
    return alive


def started(
    source: Path, dest: Path, *options: str, settings: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", "archive", "score", source, "--out", dest, *options],
        cwd=_ROOT,
        env={**os.environ, **(settings or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def content(dest: Path) -> dict[str, str]:
    """SHA-256 of each table's rows, sorted, with every column as JSON: the same for the same content."""
    store = Store(str(dest))
    hashes = {}
    for table in (CALLS, UTTERANCES, FAILURES):
        rows = (row for part in store.scan(table) for row in part.to_pylist())
        lines = sorted(json.dumps(row, default=str, sort_keys=True, ensure_ascii=False) for row in rows)
        hashes[table] = sha256("\n".join(lines).encode()).hexdigest()
    return hashes


def names(dest: Path) -> list[str]:
    """Of every row of calls and failures."""
    store = Store(str(dest))
    tables = (store.scan(table, ["recording"]) for table in (CALLS, FAILURES))
    return [name for parts in tables for part in parts for name in part.column("recording").to_pylist()]


class _Memory:
    """Looks at a process and all its descendants again and again."""

    def __init__(self, first: int) -> None:
        self.peak_mib = self.peak_of_first_mib = 0.0
        self._first = first
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(_LOOKED_EVERY_S):
            own = _proportional_mib(self._first)
            self.peak_of_first_mib = max(self.peak_of_first_mib, own)
            self.peak_mib = max(self.peak_mib, own + sum(map(_proportional_mib, _descendants(self._first))))

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def _proportional_mib(process: int) -> float:
    """What is shared counts in parts, so that the sum over processes counts it once."""
    try:
        told = Path(f"/proc/{process}/smaps_rollup").read_text("ascii")
    except OSError:
        return 0.0
    found = re.search(r"^Pss: +(\d+) kB", told, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _children(process: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text("ascii").split()]
    except OSError:
        return []


def _descendants(process: int) -> list[int]:
    found = _children(process)
    return [*found, *(further for child in found for further in _descendants(child))]


def _wait_until_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + _FOUND_GONE_WITHIN_S
    while any(Path(f"/proc/{process}").exists() for process in processes):
        if time.monotonic() > deadline:
            raise RuntimeError("a worker outlived its run")
        time.sleep(0.1)
