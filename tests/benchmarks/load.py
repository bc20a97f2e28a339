"""Uploads without end, from a process of their own, while a worker, the API and PostgreSQL are killed: what is lost?"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psycopg

from tests.benchmarks.load_account import Account, account, undelivered, waiting
from tests.benchmarks.load_deployment import ROOT, Deployment, deploy, environment_of, make_key, now_s
from tests.benchmarks.load_sender import Sender, open_client
from tests.lenders.receiver import Receiver, receiver
from tests.postgres import new_database, own_postgres

_READY_WITHIN_S = 300.0  # a machine that is busy with other things is slow, not broken
_LOOK_EVERY_S = 1.0
# No file is flushed to the disk at the cluster's making; once it runs, PostgreSQL is as Debian has it.
_AS_DEBIAN_HAS_IT: dict[str, str] = {}


def add_options(options: argparse.ArgumentParser) -> None:
    options.add_argument("--at-once", type=int, default=200, help="uploads that come first, all together")
    options.add_argument("--minutes", type=float, default=10, help="length of the steady stream after them")
    options.add_argument("--per-second", type=float, default=1.0, help="uploads of the stream")
    options.add_argument("--recording-seconds", type=float, default=3.0)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--finish-within-minutes", type=float, default=30, help="after the stream")
    options.add_argument("--logs", type=Path, help="a folder in which the programs' logs stay")


@dataclass
class _Run:
    deployment: Deployment
    sender: Sender
    database_url: str
    kills: list["_Kill"] = field(default_factory=list)
    burst_s: float = 0.0
    stream_ended: float = 0.0
    finished: float | None = None


@dataclass
class _Kill:
    what: str
    at: float
    in_hand: tuple[str, ...]  # calls that were being scored


def run(chosen: argparse.Namespace) -> None:
    """Prints figures. Exits with 1 if anything was lost, came twice, or was answered as it must not be."""
    with (
        tempfile.TemporaryDirectory(prefix="callaudit-load-", dir="/tmp") as scratch,
        own_postgres(_AS_DEBIAN_HAS_IT) as postgres,
        receiver() as told,
    ):
        folder = chosen.logs or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        database_url = new_database(postgres.url)
        environment = environment_of(Path(scratch), database_url)
        environment |= {"CALLAUDIT_WEBHOOK_PRIVATE_NETWORKS": "127.0.0.0/8"}
        deployment = deploy(environment, folder, postgres, chosen.workers)
        token = make_key(environment, "load", "ingest,read,admin")
        made = asyncio.run(_run(deployment, token, database_url, told, chosen))
        counted = account(database_url)
        audit = subprocess.run(
            [sys.executable, "-m", "app.cli", "audit", "verify"], cwd=ROOT, env=environment, check=False
        )
    faults = counted.faults(made.sender.accepted) + made.sender.uploads.wrong + made.sender.reads.wrong
    faults += ["the log of who did what does not verify"] if audit.returncode else []
    faults += [f"{p.name} ended by itself {p.ended_by_itself} times" for p in deployment.programs if p.ended_by_itself]
    _print(made, counted, told, chosen)
    for fault in faults:
        print(f"WRONG: {fault}")
    if faults:
        sys.exit(1)
    print("nothing lost, nothing twice, no answer out of order")


async def _run(
    deployment: Deployment, token: str, database_url: str, told: Receiver, chosen: argparse.Namespace
) -> _Run:
    deployment.start()
    try:
        async with open_client(deployment.url, {"authorization": f"Bearer {token}"}) as client:
            made = _Run(deployment, Sender(client, chosen.recording_seconds), database_url)
            await _until_ready(client)
            (await client.post("/v1/webhooks", json={"url": told.url, "events": ["call.done"]})).raise_for_status()
            reading = asyncio.create_task(made.sender.read_on())
            await _send(made, chosen)
            await _until_finished(made, 60 * chosen.finish_within_minutes)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
    finally:
        await deployment.stop()
    return made


async def _send(made: _Run, chosen: argparse.Namespace) -> None:
    began = now_s()
    await asyncio.gather(*(made.sender.send(number) for number in range(chosen.at_once)))
    made.burst_s = now_s() - began
    print(f"{chosen.at_once} at once: accepted within {made.burst_s:.1f} s", flush=True)
    stream_s = 60 * chosen.minutes
    killing = asyncio.create_task(_kill_each(made, stream_s))
    sending = []
    for number in range(round(stream_s * chosen.per_second)):
        sending.append(asyncio.create_task(made.sender.send(chosen.at_once + number)))
        await asyncio.sleep(1 / chosen.per_second)
    await asyncio.gather(killing, *sending)
    made.stream_ended = now_s()


async def _kill_each(made: _Run, stream_s: float) -> None:
    deployment = made.deployment

    async def kill_worker() -> None:
        deployment.workers[0].kill()

    async def kill_api() -> None:
        deployment.api.kill()

    kills: dict[str, Callable[[], Awaitable[None]]] = {
        "a worker": kill_worker,
        "the API": kill_api,
        "PostgreSQL": deployment.kill_postgres,
    }
    for what, kill in kills.items():
        await asyncio.sleep(stream_s / (len(kills) + 1))
        await _until_ready(made.sender.client)  # what was killed before is back, or nothing new would be seen
        in_hand = await asyncio.to_thread(_in_hand, made.database_url)
        made.kills.append(_Kill(what, now_s(), in_hand))
        await kill()
        print(f"killed {what}", flush=True)


def _in_hand(database_url: str) -> tuple[str, ...]:
    with psycopg.connect(database_url) as connection:
        return tuple(row[0] for row in connection.execute("SELECT id FROM calls WHERE status = 'processing'"))


async def _until_ready(client: httpx2.AsyncClient) -> None:
    deadline = now_s() + _READY_WITHIN_S
    while now_s() < deadline:
        with suppress(httpx2.TransportError):
            if (await client.get("/readyz")).status_code == 200:
                return
        await asyncio.sleep(0.1)
    raise TimeoutError("the service is not ready; its log in --logs says why")


async def _until_finished(made: _Run, within_s: float) -> None:
    deadline = now_s() + within_s
    for still in (waiting, undelivered):
        while await asyncio.to_thread(still, made.database_url):
            if now_s() > deadline:
                return
            await asyncio.sleep(_LOOK_EVERY_S)
        made.finished = made.finished or now_s()


def _print(made: _Run, counted: Account, told: Receiver, chosen: argparse.Namespace) -> None:
    sender, done = made.sender, counted.done
    ids = told.ids
    duration = [(r.finished_at - r.received_at).total_seconds() for r in counted.rows if r.finished_at]
    print(f"accepted {len(sender.accepted)}, finished {len(done & set(sender.accepted))}", end=", ")
    print(f"twice {sum(counted.twice.values())}")
    print(f"begun again after a kill: {sum(row.attempts - 1 for row in counted.rows)} calls")
    print(f"answers to uploads: {_told(sender.uploads.by_status)}")
    print(f"answers to reads: {_told(sender.reads.by_status)}")
    in_vain = sum(program.started_in_vain for program in made.deployment.programs)
    print(f"starts in vain, since PostgreSQL was not there yet: {in_vain}")
    print(f"webhooks: {len(ids)} deliveries of {len(set(ids))} events")
    rate = chosen.at_once / made.burst_s
    print(f"upload throughput: {rate:.1f} a second while {chosen.at_once} came at once, ", end="")
    print(f"then each took {_quantiles([took for number, took in sender.took_s.items() if number >= chosen.at_once])}")
    if made.finished:
        print(f"all finished {max(0.0, made.finished - made.stream_ended):.1f} s after the last upload")
    if duration:
        print(f"from receipt to report: {_quantiles(duration)}")
    for kill in made.kills:
        _print_kill(kill, counted, sender)


def _print_kill(kill: _Kill, counted: Account, sender: Sender) -> None:
    finished = {r.id: r.finished_at.timestamp() for r in counted.rows if r.finished_at}
    accepted_next = min((at for at in sender.accepted.values() if at > kill.at), default=None)
    finished_next = min((at for at in finished.values() if at > kill.at), default=None)
    in_hand = max((finished[call_id] for call_id in kill.in_hand if call_id in finished), default=None)
    told = (("next upload accepted", accepted_next), ("next call finished", finished_next), ("calls in hand", in_hand))
    shown = ", ".join(f"{what} after {at - kill.at:.1f} s" for what, at in told if at is not None)
    print(f"after the kill of {kill.what}: {shown}")


def _told(counter: "dict[str, int]") -> str:
    return ", ".join(f"{count} times {what}" for what, count in sorted(counter.items()))


def _quantiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "too few"
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, at most {max(seconds):.2f} s"
