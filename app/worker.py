"""A process -> one that scores queued calls until it is stopped, and takes over from workers that died."""

import fcntl
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import sqlalchemy as sa
from dbos import DBOS

from app import calls
from app.config import CannotStart, Settings
from app.database import open_database
from app.heartbeats import Heartbeats, read_beats
from app.jobs import APPLICATION, QUEUE, VERSION, WORKFLOW, JobQueue, Scoring
from app.keeping import remove_expired
from app.logs import where
from app.metrics import Metrics
from app.recordings import Recordings
from app.tables import workers
from app.traces import send_traces
from app.webhooks_connection import Post
from app.webhooks_delivery import Deliverer, forget_settled
from pipelines.score import Engine

_log = logging.getLogger(__name__)

_POLL_S = 0.5
_EXPIRY_EVERY_S = 60.0
_BREATH_S = 0.15  # who waits for SQLite looks every 0.1 s whether it is free
_MOST_WORKERS_A_HOST = 256


@contextmanager
def claim_executor(settings: Settings) -> Iterator[str]:
    """A name that no other living worker has, and the same one after a restart: DBOS then goes on with its jobs.

    The system frees the name's lock however the process ends. Raises CannotStart.
    """
    folder = settings.data_dir / "executors"
    numbered = (f"{socket.gethostname()}-{number}" for number in range(_MOST_WORKERS_A_HOST))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (settings.executor_id,) if settings.executor_id else numbered:
            with (folder / name).open("w") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield name
                return
    except OSError as error:
        raise CannotStart(f"the data folder {settings.data_dir} cannot be used ({error.strerror})") from error
    raise CannotStart("CALLAUDIT_EXECUTOR_ID: another worker runs under this name; give each worker its own")


class _Stopped(Exception):
    """The worker shuts down."""


class Worker:
    """At most one in a process, as DBOS wants it."""

    def __init__(self, scoring: Scoring, jobs: JobQueue, executor_id: str) -> None:
        self._scoring, self._jobs, self._executor_id = scoring, jobs, executor_id
        self._timeout_s = scoring.settings.worker_timeout_seconds
        self._heartbeats = Heartbeats(self._timeout_s)
        self._sweeps = False
        self._keeper = threading.Thread(target=self._keep, name="heartbeat", daemon=True)
        # Apart from the heartbeat: with a slow store it takes longer than others wait for a sign of life.
        self._remover = threading.Thread(target=self._remove, name="retention", daemon=True)
        settings = scoring.settings
        self._deliverer = Deliverer(
            scoring.database, settings.keyring, Post(settings.webhook_private_networks), scoring.metrics.attempted
        )

    def start(self) -> None:
        self._beat()
        DBOS(
            config={
                "name": APPLICATION,
                "application_version": VERSION,
                "executor_id": self._executor_id,
                "system_database_engine": self._scoring.database,
                "log_level": "WARNING",
                "enable_otlp": False,
            }
        )

        @DBOS.workflow(name=WORKFLOW)
        def score_call(call_id: str) -> None:
            self._scoring(call_id)

        DBOS.launch()
        DBOS.register_queue(
            QUEUE,
            worker_concurrency=self._scoring.settings.concurrency,
            polling_interval_sec=_POLL_S,
            on_conflict="always_update",
        )
        self._keeper.start()
        self._remover.start()
        self._deliverer.start()

    def stop(self) -> bool:
        """Gives unfinished calls back to the queue; False if some job did not listen in time."""
        scoring = self._scoring
        scoring.stopping.set()
        self._deliverer.stop()
        DBOS.destroy(
            destroy_registry=True,
            workflow_completion_timeout_sec=scoring.settings.stop_within_seconds if scoring.running else 0,
        )
        self._keeper.join()
        self._remover.join(scoring.settings.stop_within_seconds)
        try:
            for call_id in scoring.given_back:
                self._jobs.put_back(call_id)
            with scoring.database.begin() as connection:
                connection.execute(sa.delete(workers).where(workers.c.executor_id == self._executor_id))
        except sa.exc.SQLAlchemyError as error:
            _log.warning("the next worker will find what this one left: %s", where(error))
        self._deliverer.wait(scoring.settings.stop_within_seconds)
        return not scoring.running

    def _keep(self) -> None:
        while not self._scoring.stopping.wait(self._timeout_s / 5):
            try:
                self._beat()
                self._sweep()
            except Exception as error:  # whatever it is: without signs of life others take this worker's calls away
                _log.warning("no heartbeat, or no sweep: %s", where(error))

    def _remove(self) -> None:
        due, stopping = 0.0, self._scoring.stopping
        while not stopping.wait(self._timeout_s / 5):
            if not self._sweeps or time.monotonic() < due:
                continue
            due = time.monotonic() + _EXPIRY_EVERY_S
            try:
                self._remove_expired()
            except _Stopped:
                return
            except Exception as error:  # every store's client has its own errors
                _log.warning("what is past its retention is removed later: %s", where(error))

    def _remove_expired(self) -> None:
        scoring = self._scoring
        breath_s = _BREATH_S if scoring.database.dialect.name == "sqlite" else 0.0

        def forget(tenant_id: str, sha256: str) -> None:
            if scoring.stopping.is_set():
                raise _Stopped
            scoring.recordings.forget(tenant_id, sha256)

        def drop(call_id: str) -> None:
            self._jobs.drop(call_id)
            # Each removal holds all of SQLite; without a pause the heartbeat might not get its turn.
            if scoring.stopping.wait(breath_s):
                raise _Stopped

        forget_settled(scoring.database)
        if removed := remove_expired(scoring.database, forget, drop):
            _log.info("%d calls were past their retention and are deleted", removed)

    def _beat(self) -> None:
        mine = workers.c.executor_id == self._executor_id
        with self._scoring.database.begin() as connection:
            if not connection.execute(sa.update(workers).where(mine).values(beats=workers.c.beats + 1)).rowcount:
                connection.execute(sa.insert(workers).values(executor_id=self._executor_id, beats=1))

    def _sweep(self) -> None:
        alive = self._alive()
        self._sweeps = min(alive) == self._executor_id
        if not self._sweeps:
            return  # one sweeper is enough
        for call_id, executor_id in self._jobs.taken():
            if executor_id not in alive:
                _log.warning("worker %s is dead, its call %s goes back to the queue", executor_id, call_id)
                self._jobs.take_away(call_id)
        ended = self._jobs.ended()
        unfinished = calls.still_open(self._scoring.database, ended)
        for call_id in unfinished:
            self._jobs.put_back(call_id)
        if finished := [call_id for call_id in ended if call_id not in unfinished]:
            self._jobs.clear(finished)

    def _alive(self) -> set[str]:
        """This worker among them. Those that are gone are forgotten, unless they beat again meanwhile."""
        with self._scoring.database.begin() as connection:
            beats = read_beats(connection)
            alive = self._heartbeats.alive(beats) | {self._executor_id}
            for executor_id, count in beats.items():
                if executor_id not in alive:
                    gone = (workers.c.executor_id == executor_id, workers.c.beats == count)
                    connection.execute(sa.delete(workers).where(*gone))
        return alive


def work_until_stopped(settings: Settings, load_engine: Callable[[], Engine]) -> None:
    """Raises CannotStart or ModelError."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        executor_id = stack.enter_context(claim_executor(settings))
        database = stack.enter_context(open_database(settings))
        recordings = Recordings(settings)
        jobs = JobQueue(database)
        stack.callback(jobs.close)
        metrics = Metrics()
        metrics.watch(database, settings.worker_timeout_seconds)
        stack.enter_context(metrics.served(settings))
        stack.enter_context(send_traces(settings, "worker"))
        worker = Worker(Scoring(settings, load_engine(), database, recordings, metrics), jobs, executor_id)
        worker.start()
        _log.info("worker %s is ready", executor_id)
        stop.wait()
        if not worker.stop():
            logging.shutdown()
            # Python would wait for a thread deep inside a model; its job is someone else's now.
            os._exit(0)
