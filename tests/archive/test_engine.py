"""What the engine does with recordings that kill their worker, and with a long one among short ones."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pipelines.archive.ticking import ticking
from tests.archive.conftest import archive, clips, rows
from tests.conftest import ROOT


@contextmanager
def killing(recording: Path) -> Iterator[list[int]]:
    """Whoever scores this recording is killed, as the kernel does when memory runs out: whom it hit."""
    killed: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if b"udf_worker" not in (process / "cmdline").read_bytes():
                        continue
                    if recording in [descriptor.readlink() for descriptor in (process / "fd").iterdir()]:
                        killed.append(int(process.name))
                        os.kill(killed[-1], signal.SIGKILL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        done.set()
        watcher.join()


def test_recording_that_kills_its_worker_is_one_failure_and_all_others_are_scored(tmp_path: Path) -> None:
    made = clips(tmp_path / "in", 4, 1.0)
    with killing(made[1]) as killed:
        done = archive("score", tmp_path / "in", "--out", tmp_path / "out", "--workers", "1")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("3 scored, 0 the same as another, 1 failed")
    (failure,) = rows(tmp_path / "out", "failures")
    assert (failure["recording"], failure["error"]) == (made[1].name, "WorkerDied")
    assert "each time" in failure["reason"]
    assert 2 <= len(killed) <= 2 * len(made)  # the engine may start a worker anew before it says that one died


def test_engine_that_does_not_start_stops_the_run_and_blames_no_recording(tmp_path: Path) -> None:
    clips(tmp_path / "in", 2, 1.0)
    no_model = tmp_path / "model"
    shutil.copytree(ROOT / "models" / "bundled" / "transcriber", no_model)
    (no_model / "model.bin").write_bytes(b"cut off")
    order = ["score", tmp_path / "in", "--out", tmp_path / "out", "--workers", "1"]
    done = archive(*order, CALLAUDIT_ASR_MODEL=str(no_model))
    assert done.returncode == 2, done.stderr
    assert "stopped 3 times" in done.stderr
    assert "CALLAUDIT_ASR_MODEL" in done.stderr
    assert "Traceback" not in done.stderr
    assert rows(tmp_path / "out", "failures") == []


def test_long_recording_does_not_hold_up_short_ones(tmp_path: Path) -> None:
    long = clips(tmp_path / "long", 1, 60)
    short = clips(tmp_path / "short", 3, 1.0)
    script = (
        "import os, sys; from pipelines.archive.engine import Scoring, outcomes\n"
        "from pipelines.archive.work import Task\n"
        "from pipelines.decode import DecodeLimits; from pipelines.score import EngineOptions\n"
        "scoring = Scoring(EngineOptions(speakers='off', threads=1), DecodeLimits())\n"
        "for index, outcome in outcomes([Task(path, None) for path in sys.argv[1:]], scoring, 2):\n"
        "    assert outcome.report; print(index, flush=True)\n"
        "os._exit(0)"  # as the command does, since the engine's threads outlive its run
    )
    shown = subprocess.run(
        [sys.executable, "-c", script, *long, *short], capture_output=True, text=True, cwd=ROOT, check=True
    )
    order = shown.stdout.split()
    assert sorted(order) == ["0", "1", "2", "3"]
    assert order[-1] == "0"


def test_waiting_is_told_and_what_comes_is_not_changed_by_it() -> None:
    gate = threading.Event()

    def slowly() -> Iterator[int]:
        yield 1
        gate.wait()
        yield 2
        raise ValueError("in the middle")

    found = ticking(slowly(), 0.02)
    assert [next(found), next(found), next(found)] == [1, None, None]
    gate.set()
    assert next(item for item in found if item is not None) == 2
    with pytest.raises(ValueError, match="in the middle"):
        list(found)


def test_whoever_stops_listening_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    coming = ticking(iter([1, 2]), 1.0)
    assert next(coming) == 1
    del coming
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
