"""Debian's PostgreSQL -> a cluster of our own in a temporary folder, on a port of loopback."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg

READY_WITHIN_S = 60.0

# These make it quick; it only has to outlive our own processes.
FORGETFUL: Mapping[str, str] = {"fsync": "off"}


@dataclass
class Postgres:
    """Can be killed and started again, as a machine that loses it would."""

    folder: Path
    port: int
    user: str | None  # PostgreSQL refuses to run as root
    settings: Mapping[str, str]
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"postgresql://callaudit@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Returns when it answers; what a killed one left behind can keep it from starting for a moment."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            if self._process is None or self._process.poll() is not None:
                self._process = self._launch()
            assert time.monotonic() < deadline, f"PostgreSQL does not start in {self.folder}"
            time.sleep(0.1)

    @property
    def pids(self) -> list[int]:
        """Of the server, and of all that it started."""
        assert self._process
        server = self._process.pid
        return [server, *map(int, Path(f"/proc/{server}/task/{server}/children").read_text("ascii").split())]

    def kill(self) -> None:
        """The server with all that it started, at once."""
        assert self._process
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(READY_WITHIN_S)

    def _launch(self) -> "subprocess.Popen[bytes]":
        chosen = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        return subprocess.Popen(
            [_programs() / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder, *chosen],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self.user,
            cwd=self.folder,
        )

    def _answers(self) -> bool:
        asked: list[str | Path] = [_programs() / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return not subprocess.run(asked, check=False).returncode


@contextmanager
def own_postgres(settings: Mapping[str, str], kept_in: Path | None = None) -> Iterator[Postgres]:
    """Started; in the end stopped, and removed unless it is kept. A kept one goes on with what it has."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "postgres" if os.geteuid() == 0 else None
    folder = kept_in or Path(tempfile.mkdtemp(prefix="callaudit-postgres-", dir="/tmp"))
    server = Postgres(folder, port, user, settings)
    if not (folder / "data").exists():
        _make_cluster(folder, user)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        if kept_in is None:
            shutil.rmtree(folder)


def new_database(server: str) -> str:
    """A database of its own on the server; its URL."""
    name = f"calls_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        # Trigrams of Chinese need a locale that knows its characters for letters.
        connection.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'")
    return f"{server.rpartition('/')[0]}/{name}"


def _make_cluster(folder: Path, user: str | None) -> None:
    folder.mkdir(exist_ok=True)
    if user:
        shutil.chown(folder, user)
    initdb: list[str | Path] = [
        _programs() / "initdb",
        "-D",
        folder / "data",
        "-U",
        "callaudit",
        "--auth=trust",
        "--no-sync",
    ]
    subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)


def _programs() -> Path:
    """Raises FileNotFoundError if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        raise FileNotFoundError("needs Debian's postgresql: apt-get install postgresql")
    return found[-1]
