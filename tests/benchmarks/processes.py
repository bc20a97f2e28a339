"""Command -> what a process of its own took. Loads nothing large: a child's peak includes that of its parent."""

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_REST_S = 3.0


@dataclass(frozen=True, slots=True)
class Resting:
    ready_s: float  # from the start of the process to the first request that is answered
    memory_mib: float  # proportional, after some seconds without requests


def own_cpu_s(pid: int) -> float:
    """In user and in system mode, since it started. Raises FileNotFoundError if it has ended."""
    return _ticks(pid, 11) / os.sysconf("SC_CLK_TCK")


def waited_cpu_s(pid: int) -> float:
    """Of its children that have ended and that it has waited for. Raises FileNotFoundError if it has ended."""
    return _ticks(pid, 13) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int, first: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return int(fields[first]) + int(fields[first + 1])


def output_of(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=_ROOT, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def peak_mib(*arguments: str | Path) -> float:
    """Largest resident memory of the process, or of a child of its, whichever is larger."""
    with subprocess.Popen([sys.executable, "-m", *arguments], cwd=_ROOT, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return usage.ru_maxrss / 1024


def service_at_rest() -> Resting:
    with tempfile.TemporaryDirectory() as data:
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve", "--port", "0"],
            cwd=_ROOT,
            env={**os.environ, "CALLAUDIT_DATA_DIR": data},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                _wait_for_address(process)
                ready_s = time.perf_counter() - began
                time.sleep(_REST_S)
                memory_mib = _memory_mib(process.pid)
            finally:
                process.terminate()
    return Resting(ready_s, memory_mib)


def _wait_for_address(process: "subprocess.Popen[str]") -> None:
    """It is told when requests are taken, which is after the models are loaded."""
    assert process.stderr
    told = []
    for line in process.stderr:
        told.append(line)
        if "listening on http" in line:
            return
    raise RuntimeError("the service did not start: " + "".join(told))


def _memory_mib(pid: int) -> float:
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"), re.MULTILINE)
    assert found
    return int(found[1]) / 1024
