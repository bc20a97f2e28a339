"""A year of made-up calls in PostgreSQL -> how long every read route takes, for one asker and for several at once.

And how long service and database compute for one request, which does not depend on what else the machine does.
"""

import argparse
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psycopg

from tests.benchmarks.load_deployment import Program, environment_of, make_key
from tests.benchmarks.processes import own_cpu_s
from tests.benchmarks.reads_questions import Path as Question
from tests.benchmarks.reads_questions import Subjects, questions
from tests.benchmarks.reads_rows import TENANTS, fill
from tests.postgres import Postgres, new_database, own_postgres

_AIM_MS = 100  # p99, of what starts with these words
_AIMED = ("get", "list", "search")
_READY_WITHIN_S = 300.0
_TIMEOUT_S = 120.0
_ENOUGH_S = 20.0  # of one question; what is slow is asked less often
_SUBJECTS = 500


def add_options(options: argparse.ArgumentParser) -> None:
    options.add_argument("--calls", type=int, default=100_000, help="each has 30 utterances on average")
    options.add_argument("--requests", type=int, default=200, help="of each question, at each number of askers")
    options.add_argument("--askers", type=int, nargs="+", default=[1, 4])
    options.add_argument("--only", nargs="+", default=[""], help="questions whose name has any of these in it")
    options.add_argument("--tenant", choices=[name for name, _ in TENANTS], default="north", help="who asks")
    options.add_argument("--keep", type=Path, help="a folder in which the filled database stays for the next time")


@dataclass(frozen=True, slots=True)
class _Service:
    url: str
    token: str
    pid: int
    postgres: Postgres

    def computed_ms(self) -> float:
        """Since they started, service and database together."""
        used_s = 0.0
        for pid in (self.pid, *self.postgres.pids):
            with suppress(FileNotFoundError):
                used_s += own_cpu_s(pid)
        return 1000 * used_s

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"authorization": f"Bearer {self.token}"}, timeout=_TIMEOUT_S)


def run(chosen: argparse.Namespace) -> None:
    """Prints p50 and p99 of each question."""
    with ExitStack() as stack:
        postgres = stack.enter_context(own_postgres({}, chosen.keep))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="callaudit-reads-", dir="/tmp")))
        database_url = _filled(postgres.url, scratch, chosen.calls)
        environment = environment_of(scratch, database_url)
        token = make_key(environment, chosen.tenant, "read,review,admin")
        service = stack.enter_context(_serving(environment, scratch, token, postgres))
        for name, question in questions(_subjects(database_url, chosen.tenant)).items():
            if any(part in name for part in chosen.only):
                _measure(service, name, question, chosen)


def _filled(server: str, scratch: Path, calls: int) -> str:
    """The URL of a database with the calls in it, made now unless it was kept."""
    with psycopg.connect(server) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'calls%'").fetchone()
    if found:
        return f"{server.rpartition('/')[0]}/{found[0]}"
    url = new_database(server)
    make_key(environment_of(scratch, url), "first", "read")  # makes the tables, too
    began = time.monotonic()
    made = fill(url, calls)
    print(f"{made.calls} calls with {made.utterances} utterances, made in {time.monotonic() - began:.0f} s", flush=True)
    return url


def _subjects(database_url: str, tenant: str) -> Subjects:
    with psycopg.connect(database_url) as connection:

        def some(query: str) -> tuple[str, ...]:
            return tuple(row[0] for row in connection.execute(query.encode(), {"tenant": tenant, "most": _SUBJECTS}))

        done = "FROM calls WHERE tenant_id = %(tenant)s AND status = 'done'"
        return Subjects(
            calls=some(f"SELECT id {done} ORDER BY md5(id) LIMIT %(most)s"),
            reviewed=some(
                "SELECT DISTINCT call_id FROM reviews WHERE tenant_id = %(tenant)s ORDER BY call_id LIMIT %(most)s"
            ),
            collectors=some(f"SELECT DISTINCT collector_id {done}"),
            agencies=some(f"SELECT DISTINCT agency {done}"),
            webhook=f"we_{tenant}",
        )


@contextmanager
def _serving(environment: Mapping[str, str], logs: Path, token: str, postgres: Postgres) -> Iterator[_Service]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    program = Program("API", ("app.cli", "serve", "--port", port, "--no-worker"), environment, logs / "api.log")
    program.start()
    service = _Service(f"http://127.0.0.1:{port}", token, program.pid, postgres)
    try:
        with service.client() as client:
            deadline = time.monotonic() + _READY_WITHIN_S
            while not _is_ready(client):
                assert time.monotonic() < deadline, program.log.read_text("utf-8")
                time.sleep(0.2)
        yield service
    finally:
        program.stop()


def _is_ready(client: httpx2.Client) -> bool:
    with suppress(httpx2.TransportError):
        return client.get("/readyz").status_code == 200
    return False


def _measure(service: _Service, name: str, question: Question, chosen: argparse.Namespace) -> None:
    _asked(service, question, 3, seed=0)  # plans and pages are as warm as in a service that runs
    told, worst_ms, asked, computed_ms = [], 0.0, 0, service.computed_ms()
    for askers in chosen.askers:
        share = chosen.requests // askers
        with ThreadPoolExecutor(askers) as pool:
            parts = pool.map(lambda seed: _asked(service, question, share, seed), range(1, askers + 1))  # noqa: B023
            took = [ms for part in parts for ms in part]
        cuts = statistics.quantiles(took, n=100, method="inclusive")
        asked += len(took)
        worst_ms = max(worst_ms, cuts[98])
        told.append(f"{askers} at a time p50 {cuts[49]:.0f} ms, p99 {cuts[98]:.0f} ms")
    missed = name.startswith(_AIMED) and worst_ms > _AIM_MS
    each_ms = (service.computed_ms() - computed_ms) / asked
    print(
        f"{name}: {'; '.join(told)}; computes {each_ms:.1f} ms{f' (aim: p99 {_AIM_MS} ms, missed)' if missed else ''}",
        flush=True,
    )


def _asked(service: _Service, question: Question, times: int, seed: int) -> list[float]:
    """Milliseconds of each request, until the last byte."""
    draw = random.Random(seed)
    took: list[float] = []
    deadline = time.monotonic() + _ENOUGH_S
    with service.client() as client:
        while len(took) < times and (time.monotonic() < deadline or len(took) < 2):
            path = question(draw)
            began = time.perf_counter()
            answer = client.get(path)
            took.append(1000 * (time.perf_counter() - began))
            assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
    return took
