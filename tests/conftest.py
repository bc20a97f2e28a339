import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest
import soundfile

from tests.postgres import FORGETFUL, new_database, own_postgres

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.tabs import Tabs

ROOT = Path(__file__).parent.parent
CALLS = Path(__file__).parent / "data" / "calls"
READY_WITHIN_S = 300  # seconds; a machine that is busy with other things is slow, not broken
DONE_WITHIN_S = 300
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else each request reads the system's, in 40 ms

# They take minutes. Begun last, one of them would keep one process busy while the others have nothing left to do.
LONG_FILES = (
    "test_jobs.py",
    "test_train_classifier.py",
    "test_classifier_evaluation.py",
    "test_fine_tune_transcriber.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


def needs_debian(*packages: str) -> None:
    """Installs what is missing where that is allowed; else the test is skipped, or in CI fails."""
    missing = [p for p in packages if subprocess.run(["dpkg", "-s", p], capture_output=True, check=False).returncode]
    if not missing:
        return
    why = f"needs the Debian packages {' '.join(missing)}"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            done = subprocess.run(["apt-get", *command], capture_output=True, text=True, env=environment, check=False)
            why = f"{why}: {done.stderr[-300:]}" if done.returncode else why
        if not done.returncode:
            return
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@dataclass
class Program:
    """A started `callaudit serve` or `callaudit worker`."""

    process: subprocess.Popen[str]
    data_dir: Path
    lines: list[str] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, within_s: float = READY_WITHIN_S) -> str:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.log):
                return found[0]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} (exit code {self.process.poll()}) in:\n{self.log}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join(1)  # what it said last is in the pipe

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join(1)
        return code

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return httpx2.get(self.url + path, timeout=60, verify=NO_CERTIFICATES, **options)

    def upload(self, content: bytes | Path, name: str = "call.wav", **form: str) -> httpx2.Response:
        content = content.read_bytes() if isinstance(content, Path) else content
        files = {"file": (name, content)}
        return httpx2.post(f"{self.url}/v1/calls", files=files, data=form, timeout=60, verify=NO_CERTIFICATES)

    def accepted(self, content: bytes | Path, **form: str) -> str:
        answer = self.upload(content, **form)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def finished(self, call_id: str, within_s: float = DONE_WITHIN_S) -> Any:
        return self.until(call_id, lambda call: call["status"] in ("done", "failed"), within_s)

    def until(self, call_id: str, wanted: Callable[[dict[str, Any]], bool], within_s: float = DONE_WITHIN_S) -> Any:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            answer = self.get(f"/v1/calls/{call_id}")
            assert answer.status_code == 200, answer.text
            if wanted(answer.json()):
                return answer.json()
            time.sleep(0.05)
        raise AssertionError(f"still {answer.text[:300]} after {within_s} s:\n{self.log}")


Start = Callable[..., Program]


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3. A file's tests have buckets of their own."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - a second of imports for few tests

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def start_program() -> Iterator[Start]:
    """Starts `callaudit …` with settings; all of it is killed in the end."""
    started: list[Program] = []

    def start(data_dir: Path, *arguments: str, settings: Mapping[str, str] | None = None, **options: Any) -> Program:
        command = [sys.executable, "-m", "app.cli", *(arguments or ("serve", "--port", "0"))]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CALLAUDIT_")}
        environment |= {"CALLAUDIT_DATA_DIR": str(data_dir), **(settings or {})}
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment, **options
        )
        program = Program(process, data_dir)
        started.append(program)
        if command[3] == "serve":
            program.url = program.wait_for(r"http://\S+")
        return program

    yield start
    for program in started:
        with suppress(ProcessLookupError):
            program.kill()
        assert program.process.stderr
        program.process.stderr.close()


@pytest.fixture(scope="session")
def service(start_program: Start, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The service as it is by default, shared by all tests that do it no harm."""
    return start_program(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="session")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of sound without speech."""
    path = tmp_path_factory.mktemp("sound") / "tone.wav"
    write_tone(path, 2.0)
    return path


def write_tone(path: Path, seconds: float, pitch: float = 440.0) -> None:
    time_s = np.arange(int(8000 * seconds)) / 8000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time_s), 8000)


@pytest.fixture(scope="session")
def long_call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 seconds of demo calls, on each of two channels: long enough to be interrupted."""
    path = tmp_path_factory.mktemp("sound") / "long.wav"
    calls = [soundfile.read(CALLS / f"{name}.ogg")[0] for name in ("late-first-job", "shop-owner-visits")]
    soundfile.write(path, np.concatenate(calls)[: 80 * 8000], 8000)
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL of our own, in a temporary folder; its URL."""
    needs_debian("postgresql")
    with own_postgres(FORGETFUL) as server:
        yield server.url


@pytest.fixture
def postgres_database(postgres: str) -> str:
    """An empty database of that PostgreSQL; its URL."""
    return new_database(postgres)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from tests.tabs import chromium  # noqa: PLC0415 - it stands on this file

    with chromium() as opened:
        yield opened


@pytest.fixture
def tabs(browser: "Browser", tmp_path: Path) -> Iterator["Tabs"]:
    from tests.tabs import Tabs  # noqa: PLC0415 - it stands on this file

    made = Tabs(browser, tmp_path)
    yield made
    made.close()
