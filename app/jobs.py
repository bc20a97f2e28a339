"""Accepted call -> stored report, durably: on DBOS, one workflow a call, whose id is the call's.

The workflow has no steps: all that it changes is guarded by the number of its attempt, so that running it again
is harmless, and DBOS keeps nothing of a call but its id.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

import sqlalchemy as sa
from dbos import DBOSClient
from dbos import error as dbos_error

from app import calls
from app.calls import Attempt
from app.config import Settings
from app.decoding import decode_limits
from app.errors import problem_of, refusal
from app.logs import where
from app.metrics import Metrics
from app.recordings import Recordings
from app.traces import span
from models.call import Recording
from models.errors import CallError, NoSpace, UnreadableFile
from pipelines.decode import decode
from pipelines.report import Report
from pipelines.score import Engine, Progress, score

_log = logging.getLogger(__name__)

APPLICATION = "callaudit"
QUEUE = "calls"
WORKFLOW = "score_call"
# Fixed, since jobs left by one version wait for a worker of that version; a job is only ever a call's id.
VERSION = "1"

_MOST_ATTEMPTS = 5
_PROGRESS_EVERY_S = 0.5
_LONGEST_PAUSE_S = 5.0
_OUTAGE_S = 600.0  # a store's failover takes minutes; a disk too small for one call must not hold up the rest
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_AT_ONCE = 500

T = TypeVar("T")


class JobQueue:
    """The calls that wait for a worker, and those that one works on."""

    def __init__(self, database: sa.Engine) -> None:
        self._client = DBOSClient(
            system_database_engine=database, application_name=APPLICATION, retry_connection_errors=False
        )

    def put(self, connection: sa.Connection, call_id: str) -> None:
        """Within the caller's transaction, so that there is no call without its job."""
        self._client.enqueue_in_transaction(
            connection,
            {"workflow_name": WORKFLOW, "queue_name": QUEUE, "workflow_id": call_id, "app_version": VERSION},
            call_id,
        )

    def drop(self, call_id: str) -> None:
        """A running job notices that its call is gone at its next progress."""
        self._client.cancel_workflow(call_id)
        self._client.delete_workflow(call_id)

    def taken(self) -> list[tuple[str, str | None]]:
        """Each call that is being worked on, and by which executor."""
        found = self._client.list_workflows(status="PENDING", name=WORKFLOW, load_input=False, load_output=False)
        return [(workflow.workflow_id, workflow.executor_id) for workflow in found]

    def take_away(self, call_id: str) -> None:
        """From a worker that is dead. Does nothing if the call was removed meanwhile."""
        with suppress(dbos_error.DBOSNonExistentWorkflowError):
            self._client.resume_workflow(call_id, queue_name=QUEUE)

    def ended(self) -> list[str]:
        found = self._client.list_workflows(
            status=_ENDED, name=WORKFLOW, load_input=False, load_output=False, limit=_AT_ONCE
        )
        return [workflow.workflow_id for workflow in found]

    def put_back(self, call_id: str) -> None:
        """Once more, if the job has ended."""
        try:
            self._client.rewind_workflow(call_id, start_step=1, queue_name=QUEUE)
        except dbos_error.DBOSException:
            _log.info("call %s is already back in the queue", call_id)

    def clear(self, call_ids: list[str]) -> None:
        self._client.delete_workflows(call_ids)

    def close(self) -> None:
        self._client.destroy()


class _Stopped(Exception):
    """The worker shuts down."""


class _NotOurs(Exception):
    """The call was removed, or another worker has taken it over."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What a worker does with a call. Never raises: what becomes of the call is in its row."""

    settings: Settings
    engine: Engine
    database: sa.Engine
    recordings: Recordings
    metrics: Metrics = field(default_factory=Metrics)
    stopping: threading.Event = field(default_factory=threading.Event)
    running: set[str] = field(default_factory=set)
    given_back: list[str] = field(default_factory=list)
    outage_s: float = _OUTAGE_S  # for so long a call waits for its recording

    def __call__(self, call_id: str) -> None:
        self.running.add(call_id)
        try:
            with span("score call", call_id=call_id):
                self._work(call_id)
        except _NotOurs:
            _log.info("call %s was removed or taken over; its attempt stops", call_id)
        except _Stopped:
            self.given_back.append(call_id)
        finally:
            self.running.discard(call_id)

    def _work(self, call_id: str) -> None:
        attempt = self._insist(lambda: calls.begin(self.database, call_id))
        if attempt is None:
            raise _NotOurs
        began = time.monotonic()
        try:
            if attempt.count > _MOST_ATTEMPTS:
                raise refusal(500, "job given up", f"the service died {_MOST_ATTEMPTS} times while it scored this call")
            report = self._score(attempt)
        except _NotOurs:
            raise
        except _Stopped:
            self._insist(lambda: calls.give_back(self.database, attempt))
            raise
        except Exception as error:  # whatever it is, the sender must be told rather than wait for ever
            problem = problem_of(error)
            if not isinstance(error, CallError):
                _log.error("call %s: unforeseen: %s", call_id, where(error))
            if self._insist(lambda: calls.fail(self.database, attempt, problem)):
                self.metrics.failed(problem)
            _log.info("call %s failed after %.1f s: %s", call_id, time.monotonic() - began, problem.title)
        else:
            if not self._insist(lambda: calls.finish(self.database, attempt, report)):
                raise _NotOurs
            heard, took = report.recording.duration, time.monotonic() - began
            self.metrics.done(report, took)
            _log.info(
                "call %s done: %.1f s of sound, %d utterances, in %.1f s", call_id, heard, len(report.utterances), took
            )

    def _score(self, attempt: Attempt) -> Report:
        told = time.monotonic()

        def progress(fraction: float) -> None:
            nonlocal told
            if self.stopping.is_set():
                raise _Stopped
            if time.monotonic() - told < _PROGRESS_EVERY_S:
                return
            told = time.monotonic()
            try:
                ours = calls.advance(self.database, attempt, min(fraction, 1.0))
            except sa.exc.SQLAlchemyError:
                return  # progress is not worth an attempt
            if not ours:
                raise _NotOurs

        with self._recording(attempt, progress) as recording:
            progress(0.0)
            return score(recording, self.engine, collector_channel=attempt.collector_channel, progress=progress)

    @contextmanager
    def _recording(self, attempt: Attempt, progress: Progress) -> Iterator[Recording]:
        """Waits while the store is away or the disk is full, so that the queue does not run dry into failures."""
        give_up_at, pause = time.monotonic() + self.outage_s, 1.0
        with ExitStack() as files:
            while True:
                try:
                    path = files.enter_context(self.recordings.as_file(attempt.tenant_id, attempt.recording_sha256))
                    recording = files.enter_context(decode(path, decode_limits(self.settings)))
                    break
                except (OSError, NoSpace, UnreadableFile) as error:
                    if not self._may_pass(error):
                        raise
                    if time.monotonic() >= give_up_at:
                        if problem_of(error).status == HTTPStatus.INSUFFICIENT_STORAGE:
                            raise
                        told = f"the recordings' store was away for {self.outage_s:.0f} s; send the call again later"
                        raise refusal(503, "recordings unavailable", told) from error
                    _log.warning("call %s waits %.0f s for its recording: %s", attempt.call_id, pause, where(error))
                    files.close()  # what was copied takes no room while the call waits
                self.stopping.wait(pause)
                progress(0.0)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            yield recording

    def _may_pass(self, error: Exception) -> bool:
        """Whether it is about the store or the disk, and not about this recording."""
        if isinstance(error, FileNotFoundError | UnreadableFile):
            try:
                self.recordings.check()
            except OSError:
                return True
            return False
        return True

    def _insist(self, change: Callable[[], T]) -> T:
        """A database that is away for a while must not cost a call its report."""
        pause = 1.0
        while True:
            try:
                return change()
            except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
                _log.warning("the database does not take it, next try in %.0f s: %s", pause, where(error))
                if self.stopping.wait(pause):
                    raise _Stopped from error
                pause = min(2 * pause, _LONGEST_PAUSE_S)
