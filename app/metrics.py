"""What this process did, and what waits in the database -> numbers in the form that Prometheus reads."""

from collections import Counter as Count
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.calls import Status
from app.config import CannotStart, Settings
from app.errors import Problem
from app.heartbeats import Heartbeats, read_beats
from app.tables import calls, webhook_messages
from app.webhooks import State
from pipelines.report import Report

# Of a process that keeps up it is below 1; below 0.1 on a GPU.
_FACTORS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class Metrics:
    """Counters of one process; Prometheus adds processes up, as it expects to."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._calls = self._counter("calls", "Calls that this process scored, by outcome", "outcome")
        self._audio = self._counter("audio_seconds", "Sound in the calls that were done")
        self._work = self._counter("work_seconds", "Time spent on the calls that were done")
        self._factor = self._histogram("real_time_factor", "Seconds of work for a second of sound, by call", _FACTORS)
        self._labels = self._counter("utterances", "Utterances of done calls, by primary label", "label")
        self._errors = self._counter("errors", "Problems that calls failed with, by type", "type")
        self._webhooks = self._counter("webhook_attempts", "Attempts to deliver, by what became of them", "became")
        self._requests = self._histogram(
            "http_request_seconds", "Requests, by route and status", _SECONDS, "method", "route", "status"
        )

    def watch(self, database: sa.Engine, worker_timeout_s: float) -> None:
        self._registry.register(_Waiting(database, worker_timeout_s))

    def done(self, report: Report, took_s: float) -> None:
        heard = report.recording.duration
        self._calls.labels("done").inc()
        self._audio.inc(heard)
        self._work.inc(took_s)
        if heard > 0:
            self._factor.observe(took_s / heard)
        for label, number in Count(str(u.label) for u in report.utterances).items():
            self._labels.labels(label).inc(number)

    def failed(self, problem: Problem) -> None:
        self._calls.labels("failed").inc()
        self._errors.labels(problem.type.rpartition(":")[2]).inc()

    def attempted(self, became: str) -> None:
        self._webhooks.labels(became).inc()

    def answered(self, method: str, route: str, status: int, took_s: float) -> None:
        """`route` as it is declared, so that no id makes a series of its own."""
        known = method if method in _METHODS else "other"  # anyone may send any word for a method
        self._requests.labels(known, route, str(status)).observe(took_s)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    @contextmanager
    def served(self, settings: Settings) -> Iterator[None]:
        """On a port of their own, for a process that serves nothing else. Raises CannotStart."""
        if settings.metrics_port is None:
            yield
            return
        try:
            server, thread = start_http_server(settings.metrics_port, settings.metrics_host, self._registry)
        except OSError as error:
            told = f"cannot serve metrics on {settings.metrics_host} port {settings.metrics_port} ({error.strerror})"
            raise CannotStart(f"CALLAUDIT_METRICS_PORT: {told}") from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, labels, namespace="callaudit", registry=self._registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, about, labels, namespace="callaudit", registry=self._registry, buckets=buckets)


class _Waiting(Collector):
    """Asked anew at every reading, and the same whichever process is asked."""

    def __init__(self, database: sa.Engine, worker_timeout_s: float) -> None:
        self._database = database
        self._heartbeats = Heartbeats(worker_timeout_s)

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # else registering would ask the database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("callaudit_database_up", "Whether the database answers; without it nothing else waits")
        try:
            found = list(self._ask())
        except sa.exc.SQLAlchemyError:
            found = []
        up.add_metric([], float(bool(found)))
        yield up
        yield from found

    def _ask(self) -> Iterator[GaugeMetricFamily]:
        queue = GaugeMetricFamily("callaudit_queue_calls", "Calls that are not finished", labels=["status"])
        messages = GaugeMetricFamily("callaudit_webhook_messages", "Messages not delivered, by state", labels=["state"])
        c, m = calls.c, webhook_messages.c
        with self._database.connect() as connection:
            for status in (Status.QUEUED, Status.PROCESSING):
                query = sa.select(sa.func.count()).select_from(calls).where(c.status == status)
                queue.add_metric([str(status)], connection.execute(query).scalar_one())
            for state in (State.PENDING, State.DEAD):
                query = sa.select(sa.func.count()).select_from(webhook_messages).where(m.state == state)
                messages.add_metric([str(state)], connection.execute(query).scalar_one())
            oldest = connection.execute(sa.select(sa.func.min(c.received_at)).where(c.status == Status.QUEUED)).scalar()
            unsent = connection.execute(sa.select(sa.func.min(m.created_at)).where(m.state == State.PENDING)).scalar()
            beats = read_beats(connection)
        yield queue
        yield messages
        yield GaugeMetricFamily("callaudit_queue_oldest_seconds", "Age of the oldest queued call", value=_age(oldest))
        yield GaugeMetricFamily(
            "callaudit_webhook_oldest_seconds", "Age of the oldest pending message", value=_age(unsent)
        )
        alive = self._heartbeats.alive(beats)
        yield GaugeMetricFamily("callaudit_workers", "Processes that give signs of life", value=len(alive))


def _age(since: datetime | None) -> float:
    return max(0.0, (datetime.now(UTC) - since).total_seconds()) if since else 0.0
