"""A folder -> the service as it is deployed: PostgreSQL, the API and workers, each started again when it ends."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.postgres import Postgres

ROOT = Path(__file__).parent.parent.parent
_RESTART_AFTER_S = 1.0  # an operator's systemd would have Restart=always and about this much for RestartSec
_LOOK_EVERY_S = 0.1
_CANNOT_START = 2  # exit code of a program that lacks something, as a database that is just starting
_STOP_WITHIN_S = 30.0


@dataclass
class Program:
    """One process of ours, under a name."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    ended_by_itself: int = 0
    started_in_vain: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _killed: bool = False

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self.command],
                cwd=ROOT,
                env=dict(self.environment),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def kill(self) -> None:
        assert self._process
        self._killed = True
        self._process.kill()

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    async def keep_running(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._process and self._process.poll() is not None:
                if self._process.returncode == _CANNOT_START:
                    self.started_in_vain += 1
                elif not self._killed:
                    self.ended_by_itself += 1
                self._killed = False
                await asyncio.sleep(_RESTART_AFTER_S)
                self.start()


@dataclass
class Deployment:
    url: str
    postgres: Postgres
    api: Program
    workers: tuple[Program, ...]
    _keepers: list["asyncio.Task[None]"] = field(default_factory=list)

    @property
    def programs(self) -> tuple[Program, ...]:
        return (self.api, *self.workers)

    def start(self) -> None:
        for program in self.programs:
            program.start()
            self._keepers.append(asyncio.create_task(program.keep_running()))

    async def kill_postgres(self) -> None:
        self.postgres.kill()
        await asyncio.sleep(_RESTART_AFTER_S)
        await asyncio.to_thread(self.postgres.start)

    async def stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        for program in self.programs:
            await asyncio.to_thread(program.stop)


def deploy(environment: Mapping[str, str], logs: Path, postgres: Postgres, workers: int) -> Deployment:
    """Nothing is started yet but PostgreSQL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    api = Program("API", ("app.cli", "serve", "--port", port, "--no-worker"), environment, logs / "api.log")
    named = (f"worker {number}" for number in range(1, workers + 1))
    return Deployment(
        url=f"http://127.0.0.1:{port}",
        postgres=postgres,
        api=api,
        workers=tuple(Program(name, ("app.cli", "worker"), environment, logs / f"{name}.log") for name in named),
    )


def environment_of(folder: Path, database_url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLAUDIT_")}
    ours = {"DATA_DIR": str(folder / "data"), "DATABASE_URL": database_url, "THREADS": "1", "LOG_FORMAT": "json"}
    return {**kept, "OMP_NUM_THREADS": "1", **{f"CALLAUDIT_{name}": value for name, value in ours.items()}}


def make_key(environment: Mapping[str, str], tenant: str, roles: str) -> str:
    command = [sys.executable, "-m", "app.cli", "keys", "create", "--tenant", tenant, "--roles", roles]
    done = subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def now_s() -> float:
    """By the same clock as the database's times on this machine."""
    return time.time()
