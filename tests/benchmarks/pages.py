"""A call of an hour, as it would be stored -> how fast the service draws its pages, and how heavy every page is."""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import soundfile
import sqlalchemy as sa

from app import calls
from app.config import Settings
from app.database import open_database
from pipelines.report import Report
from tests.benchmarks.long_calls import write_repeated
from tests.benchmarks.processes import own_cpu_s
from tests.benchmarks.reads_conversations import abusive_report
from tests.benchmarks.stopwatch import wall_s

_AIM_MS = 300  # of a result
_AIM_BYTES = 150_000  # of a page with all that it loads but sound, before compression
_TIMES = 20
_TIMEOUT_S = 300.0
_ROOT = Path(__file__).parent.parent.parent
_DEMO = _ROOT / "tests" / "data" / "calls" / "late-first-job.ogg"


def add_options(options: argparse.ArgumentParser) -> None:
    options.add_argument("--minutes", type=float, default=60, help="length of the call")
    options.add_argument("--utterances", type=int, default=1500, help="said in it; one in twenty is flagged")


@dataclass(frozen=True, slots=True)
class _Service:
    client: httpx2.Client
    database: sa.Engine
    pid: int

    def computed_ms(self) -> float:
        """Since it started; what else the machine does adds nothing."""
        return 1000 * own_cpu_s(self.pid)

    def finish(self, call_id: str, report: Report) -> None:
        """As a worker does that has scored the call."""
        attempt = calls.begin(self.database, call_id)
        assert attempt
        recording = report.recording.model_copy(update={"sha256": attempt.recording_sha256})
        assert calls.finish(self.database, attempt, report.model_copy(update={"recording": recording}))


def run(chosen: argparse.Namespace) -> None:
    """Prints times, and what pages weigh."""
    with tempfile.TemporaryDirectory(prefix="callaudit-pages-") as folder, _serving(Path(folder)) as service:
        seconds = 60 * chosen.minutes
        sound = _sound(Path(folder) / "call.wav", seconds)
        report = _lasting(abusive_report(chosen.utterances, seed=1), seconds)
        result, call = _borrowers(service, sound, report), _analysts(service, sound, report)
        sound.unlink()
        print(
            f"a call of {chosen.minutes:g} min, {chosen.utterances} utterances, "
            f"{sum(bool(u.labels) for u in report.utterances)} flagged",
            flush=True,
        )
        _time(service, "result", result)
        _time(service, "call for review", call)
        for name, page in (("result", result), ("call for review", call)):
            for what in ("wave/0.svg", "sound"):
                made_s = wall_s(lambda: service.client.get(f"{page}/{what}").raise_for_status())  # noqa: B023
                print(f"{name}: {what} after {made_s:.1f} s at the first look", flush=True)
        case = result.partition("/recordings")[0]
        borrowers = ("/", case, result, f"{case}/letter", "/rules", "/verify", f"{case}/delete", "/case/none")
        for path in (*borrowers, "/qa", call, "/qa/dashboard"):
            _weigh(service, path)


@contextmanager
def _serving(folder: Path) -> Iterator[_Service]:
    settings = Settings(data_dir=folder / "data")
    ours = {"CALLAUDIT_DATA_DIR": str(settings.data_dir), "CALLAUDIT_THREADS": "1", "OMP_NUM_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLAUDIT_")}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0", "--no-worker"]
    log = folder / "log"
    with (
        log.open("wb") as told,
        subprocess.Popen(command, cwd=_ROOT, env=kept | ours, stderr=told, stdin=subprocess.DEVNULL) as process,
    ):
        try:
            url = _address(log, process)
            with httpx2.Client(base_url=url, timeout=_TIMEOUT_S) as client, open_database(settings) as database:
                yield _Service(client, database, process.pid)
        finally:
            process.terminate()


def _address(log: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + _TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r"listening on (http://\S+)", log.read_text("utf-8")):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"the service did not start: {log.read_text('utf-8')}")


def _sound(path: Path, seconds: float) -> Path:
    """A demo call again and again, as telephones have it."""
    write_repeated(path, *soundfile.read(_DEMO, dtype="int16"), seconds=seconds, subtype="ULAW")
    return path


def _lasting(report: Report, seconds: float) -> Report:
    """The same, spoken so fast that it lasts as long as it should."""
    share = seconds / report.recording.duration
    said = tuple(
        u.model_copy(update={"start": round(u.start * share, 2), "end": round(u.end * share, 2)})
        for u in report.utterances
    )
    recording = report.recording.model_copy(update={"duration": seconds})
    return report.model_copy(update={"utterances": said, "recording": recording})


def _borrowers(service: _Service, sound: Path, report: Report) -> str:
    """Path of the result."""
    once = re.search(r'name="once" value="([^"]+)"', service.client.get("/").text)
    assert once
    with sound.open("rb") as file:
        sent = service.client.post("/cases", data={"once": once[1]}, files={"file": file})
    assert sent.status_code == 303, sent.text
    case = sent.headers["location"]
    found = re.search(r'data-call="([^"]+)"', service.client.get(case).text)
    assert found
    service.finish(found[1], report)
    return f"{case}/recordings/{found[1]}"


def _analysts(service: _Service, sound: Path, report: Report) -> str:
    """Path of the call."""
    with sound.open("rb") as file:
        sent = service.client.post("/v1/calls", files={"file": file})
    assert sent.status_code == 202, sent.text
    service.finish(sent.json()["id"], report)
    return f"/qa/calls/{sent.json()['id']}"


def _time(service: _Service, name: str, path: str) -> None:
    service.client.get(path).raise_for_status()  # templates are compiled once
    took, computed_ms = [], service.computed_ms()
    for _ in range(_TIMES):
        began = time.perf_counter()
        service.client.get(path).raise_for_status()
        took.append(1000 * (time.perf_counter() - began))
    each_ms = (service.computed_ms() - computed_ms) / _TIMES
    missed = "" if max(took) <= _AIM_MS else ", missed"
    print(
        f"{name}: median {statistics.median(took):.0f} ms, worst of {_TIMES} {max(took):.0f} ms, computes "
        f"{each_ms:.0f} ms (aim: at most {_AIM_MS} ms{missed})",
        flush=True,
    )


def _weigh(service: _Service, path: str) -> None:
    """With stylesheets, script, pictures and waveforms."""
    page = service.client.get(path)
    assert page.headers["content-type"].startswith("text/html"), path
    loaded = set(re.findall(r'(?:<link [^>]*href|<script [^>]*src|<img [^>]*src|<image href)="([^"]+)"', page.text))
    parts = [service.client.get(one).raise_for_status().content for one in sorted(loaded)]
    weight = len(page.content) + sum(map(len, parts))
    shown = re.sub(r"[\w-]{22,}", "…", path)
    missed = "" if weight <= _AIM_BYTES else ", missed"
    print(
        f"{shown}: {weight / 1000:.0f} kB, of which {len(page.content) / 1000:.0f} kB are the page itself "
        f"(aim: at most {_AIM_BYTES / 1000:.0f} kB{missed})",
        flush=True,
    )
