"""A worker outlives what goes wrong around it: stores that are slow or away, full disks, jobs that are gone."""

import base64
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from app.config import Settings
from app.jobs import JobQueue, Scoring
from app.recordings import Recordings
from app.tables import calls, workers
from app.worker import Worker
from pipelines.score import Engine
from tests.lenders.conftest import Api, Tenant

SOON_S = 60.0


class SlowStore(Recordings):
    """Takes its time for every deletion, as a bucket far away."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.deletions = 0

    def forget(self, tenant_id: str, sha256: str) -> None:
        self.deletions += 1
        time.sleep(0.4)
        super().forget(tenant_id, sha256)


class BrokenStore(Recordings):
    """Fails as a client that nobody foresaw."""

    asked = False

    def forget(self, tenant_id: str, sha256: str) -> None:
        self.asked = True
        raise RuntimeError("no connection")


class BrokenOnce(JobQueue):
    """The first sweep finds what nobody foresaw."""

    broken = False

    def ended(self) -> list[str]:
        if not self.broken:
            self.broken = True
            raise RuntimeError("a job in a state that nobody knows")
        return super().ended()


@contextmanager
def working(
    api: Api, engine: Engine, recordings: Recordings, queue: type[JobQueue] = JobQueue
) -> Iterator[tuple[Worker, JobQueue]]:
    settings = api.settings.model_copy(update={"worker_timeout_seconds": 1.0, "stop_within_seconds": 5})
    jobs = queue(api.database)
    worker = Worker(Scoring(settings, engine, api.database, recordings), jobs, "a")
    try:
        worker.start()
        try:
            yield worker, jobs
        finally:
            worker.stop()
    finally:
        jobs.close()


def expired(tenant: Tenant, number: int) -> None:
    with tenant.api.database.begin() as connection:
        then = datetime.now(UTC) - timedelta(days=31)
        ids = [tenant.call() for _ in range(number)]
        connection.execute(sa.update(calls).where(calls.c.id.in_(ids)).values(received_at=then))
    assert tenant.request("PUT", "/v1/retention", json={"days": 30}).status_code == 200


def beats(api: Api) -> int:
    with api.database.connect() as connection:
        return int(connection.execute(sa.select(workers.c.beats).where(workers.c.executor_id == "a")).scalar_one())


def left(tenant: Tenant) -> int:
    query = sa.select(sa.func.count()).select_from(calls).where(calls.c.tenant_id == tenant.id)
    with tenant.api.database.connect() as connection:
        return connection.execute(query).scalar_one()


def until(happened: Callable[[], bool], within_s: float = SOON_S) -> None:
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_heart_beats_while_a_slow_store_deletes(api: Api, engine: Engine, tenant: Tenant) -> None:
    expired(tenant, 20)
    store = SlowStore(api.settings)
    with working(api, engine, store):
        until(lambda: store.deletions > 1)
        before = beats(api)
        until(lambda: beats(api) > before + 2)
        assert left(tenant) > 0, "the removal is over, so nothing is shown"


def test_stop_does_not_wait_for_all_that_is_to_be_removed(api: Api, engine: Engine, tenant: Tenant) -> None:
    expired(tenant, 20)
    store = SlowStore(api.settings)
    with working(api, engine, store):
        until(lambda: store.deletions > 0)
    assert left(tenant) > 10
    assert "retention" not in {thread.name for thread in threading.enumerate()}


def test_retention_survives_a_store_that_fails(api: Api, engine: Engine, tenant: Tenant) -> None:
    expired(tenant, 1)
    store = BrokenStore(api.settings)
    with working(api, engine, store):
        until(lambda: store.asked)
        before = beats(api)
        until(lambda: beats(api) > before + 1)
        assert "retention" in {thread.name for thread in threading.enumerate()}
    assert left(tenant) == 1


def test_heart_beats_after_a_sweep_that_failed(api: Api, engine: Engine) -> None:
    with working(api, engine, api.recordings, BrokenOnce) as (_, jobs):
        assert isinstance(jobs, BrokenOnce)
        until(lambda: jobs.broken)
        before = beats(api)
        until(lambda: beats(api) > before + 1)


def test_job_that_is_gone_is_not_taken_away(api: Api) -> None:
    jobs = JobQueue(api.database)
    try:
        jobs.take_away(str(uuid4()))
    finally:
        jobs.close()


@contextmanager
def unmounted(api: Api, _shelf: Path) -> Iterator[None]:
    folder = Path(api.settings.recordings)
    folder.rename(folder.with_name("elsewhere"))
    try:
        yield
    finally:
        folder.with_name("elsewhere").rename(folder)


@contextmanager
def unreachable(_api: Api, shelf: Path) -> Iterator[None]:
    """The recording's folder answers with an error."""
    shelf.rename(shelf.with_name("elsewhere"))
    shelf.touch()
    try:
        yield
    finally:
        shelf.unlink()
        shelf.with_name("elsewhere").rename(shelf)


@contextmanager
def full(api: Api, _shelf: Path) -> Iterator[None]:
    """No folder for temporary files can be written to, which Python finds on a full disk too."""
    tempfile.tempdir = str(api.settings.data_dir / "missing")
    try:
        yield
    finally:
        tempfile.tempdir = None


Outage = Callable[[Api, Path], AbstractContextManager[None]]


@pytest.fixture
def sound(tone: Path) -> bytes:
    return tone.read_bytes()


@pytest.fixture(params=[unmounted, unreachable, full])
def outage(request: pytest.FixtureRequest, api: Api, tenant: Tenant, sound: bytes) -> AbstractContextManager[None]:
    """Of what stands between a worker and the sound."""
    begin: Outage = request.param
    return begin(api, Path(api.settings.recordings) / "tenants" / tenant.id / sha256(sound).hexdigest()[:2])


@pytest.fixture
def scoring(api: Api, engine: Engine) -> Scoring:
    # With a key recordings are copied out of their store, as from a bucket; those that came before it are plain.
    key = SecretStr(base64.b64encode(os.urandom(32)).decode())
    keyed = Recordings(api.settings.model_copy(update={"encryption_key": key}))
    return Scoring(api.settings, engine, api.database, keyed)


def call_of(tenant: Tenant, call_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = tenant.get(f"/v1/calls/{call_id}").json()
    return answer


def begun(scoring: Scoring, call_id: str) -> threading.Thread:
    thread = threading.Thread(target=scoring, args=(call_id,))
    thread.start()
    return thread


def test_call_waits_for_its_recording(
    scoring: Scoring, tenant: Tenant, sound: bytes, outage: AbstractContextManager[None]
) -> None:
    call_id = tenant.queued_call(sound)
    with outage:
        thread = begun(scoring, call_id)
        thread.join(1.5)
        waiting = call_of(tenant, call_id)["status"]
    thread.join()
    assert (waiting, call_of(tenant, call_id)["status"]) == ("processing", "done")


def test_call_that_waits_goes_back_when_the_worker_stops(
    scoring: Scoring, tenant: Tenant, sound: bytes, outage: AbstractContextManager[None]
) -> None:
    call_id = tenant.queued_call(sound)
    with outage:
        thread = begun(scoring, call_id)
        until(lambda: call_of(tenant, call_id)["status"] == "processing")
        scoring.stopping.set()
        thread.join()
    assert scoring.given_back == [call_id]
    with tenant.api.database.connect() as connection:
        row = connection.execute(sa.select(calls.c.status, calls.c.attempts).where(calls.c.id == call_id)).one()
    assert tuple(row) == ("queued", 0)


def test_call_fails_when_the_outage_lasts(
    scoring: Scoring, tenant: Tenant, sound: bytes, outage: AbstractContextManager[None]
) -> None:
    call_id = tenant.queued_call(sound)
    with outage:
        replace(scoring, outage_s=0.0)(call_id)
    call = call_of(tenant, call_id)
    assert call["status"] == "failed"
    assert call["error"]["type"].rpartition(":")[2] in ("recordings-unavailable", "no-space")


def test_missing_folder_is_an_outage_without_a_key_too(
    api: Api, engine: Engine, tenant: Tenant, sound: bytes, tmp_path: Path
) -> None:
    call_id = tenant.queued_call(sound)
    with unmounted(api, tmp_path):
        Scoring(api.settings, engine, api.database, api.recordings, outage_s=0.0)(call_id)
    assert call_of(tenant, call_id)["error"]["type"].endswith(":recordings-unavailable")


def test_recording_that_is_gone_from_its_store_is_not_waited_for(
    scoring: Scoring, tenant: Tenant, sound: bytes
) -> None:
    call_id = tenant.queued_call(sound)
    scoring.recordings.forget(tenant.id, sha256(sound).hexdigest())
    scoring(call_id)
    assert call_of(tenant, call_id)["status"] == "failed"
