"""Calls and their reports, kept in the tables; one function a question or a change."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import sqlalchemy as sa

from app import audit, conduct, review_queue, search, webhooks_outbox
from app.audit import Action
from app.database import hold
from app.errors import Problem, refusal
from app.tables import call_labels, call_verdicts, calls, case_recordings
from models.call import Label
from pipelines.report import Report, accused


class Status(StrEnum):
    QUEUED = "queued"
    PROCESSING = "processing"
    DONE = "done"
    FAILED = "failed"


_OPEN = (Status.QUEUED, Status.PROCESSING)


@dataclass(frozen=True, slots=True)
class NewCall:
    id: str
    tenant_id: str
    key_prefix: str | None  # of the key that sent it
    sender: str  # as the audit log names it
    recording_sha256: str
    recording_bytes: int
    media_type: str
    details: str  # the caller's metadata, as JSON
    collector_id: str | None
    agency: str | None
    collector_channel: int | None
    called_at: datetime


@dataclass(frozen=True, slots=True)
class Call:
    number: int  # counts up in the order of receipt
    id: str
    tenant_id: str
    status: Status
    progress: float
    details: str
    recording_sha256: str
    recording_bytes: int
    media_type: str
    received_at: datetime
    finished_at: datetime | None
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    report: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls to list; None wants all."""

    tenant_id: str
    status: Status | None = None
    label: Label | None = None
    collector_id: str | None = None
    called_from: datetime | None = None
    called_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One go at scoring a call. What an earlier attempt still writes is refused."""

    call_id: str
    tenant_id: str
    count: int
    recording_sha256: str
    collector_channel: int | None


def accept(
    engine: sa.Engine,
    call: NewCall,
    place_recording: Callable[[], None],
    enqueue: Callable[[sa.Connection, str], None],
) -> None:
    """The row, its recording and its job: all three or none."""
    now = datetime.now(UTC)
    with engine.begin() as connection:
        # Removing the last call that has this recording must not cross with adding one.
        hold(connection, f"{call.tenant_id}/{call.recording_sha256}")
        connection.execute(
            sa.insert(calls).values(
                id=call.id,
                tenant_id=call.tenant_id,
                key_prefix=call.key_prefix,
                status=Status.QUEUED,
                progress=0.0,
                attempts=0,
                recording_sha256=call.recording_sha256,
                recording_bytes=call.recording_bytes,
                media_type=call.media_type,
                details=call.details,
                collector_id=call.collector_id,
                agency=call.agency,
                collector_channel=call.collector_channel,
                called_at=call.called_at,
                received_at=now,
            )
        )
        enqueue(connection, call.id)
        place_recording()
        # Last, since others of the tenant wait for it, and a bucket may take seconds.
        facts: dict[str, str | int] = {"recording_sha256": call.recording_sha256, "bytes": call.recording_bytes}
        audit.record(connection, call.tenant_id, call.sender, Action.CALL_ACCEPTED, call.id, **facts)


def find(engine: sa.Engine, tenant_id: str, call_id: str) -> Call | None:
    query = sa.select(*_SHOWN).where(calls.c.id == call_id, calls.c.tenant_id == tenant_id)
    with engine.connect() as connection:
        return next(iter(_read(connection, query)), None)


def outcome(engine: sa.Engine, call_id: str) -> Outcome:
    with engine.connect() as connection:
        row = connection.execute(sa.select(calls.c.report, calls.c.problem).where(calls.c.id == call_id)).one_or_none()
    return Outcome(row.report, row.problem) if row else Outcome(None, None)


def sent_since(engine: sa.Engine, key_prefix: str, since: datetime) -> int:
    """How many calls came with this key and are still there."""
    mine = (calls.c.key_prefix == key_prefix, calls.c.received_at >= since)
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(calls).where(*mine)).scalar_one()


def as_many_wait(engine: sa.Engine, most: int) -> bool:
    """Whether so many calls, of all tenants together, wait to be scored."""
    waiting = sa.select(calls.c.number).where(calls.c.status == Status.QUEUED).limit(most).subquery()
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(waiting)).scalar_one() >= most


def page(engine: sa.Engine, wanted: Wanted, before: int | None, size: int) -> list[Call]:
    """Newest first; `before` is the number of the last call of the page before this."""
    query = sa.select(*_SHOWN).where(calls.c.tenant_id == wanted.tenant_id)
    query = query.order_by(calls.c.number.desc()).limit(size)
    if before is not None:
        query = query.where(calls.c.number < before)
    if wanted.status is not None:
        query = query.where(calls.c.status == wanted.status)
    if wanted.label is not None:
        labelled = sa.select(call_labels.c.call_id).where(call_labels.c.label == wanted.label)
        query = query.where(calls.c.id.in_(labelled))
    if wanted.collector_id is not None:
        query = query.where(calls.c.collector_id == wanted.collector_id)
    if wanted.called_from is not None:
        query = query.where(calls.c.called_at >= wanted.called_from)
    if wanted.called_before is not None:
        query = query.where(calls.c.called_at < wanted.called_before)
    with engine.connect() as connection:
        return _read(connection, query)


def remove(
    engine: sa.Engine, tenant_id: str, actor: str, call_id: str, forget_recording: Callable[[str, str], None]
) -> bool:
    """Forgets the recording too, and the sound made of it, unless another call has the same; False if there is no call.

    Raises Refused if the call is held.
    """
    mine = (calls.c.id == call_id, calls.c.tenant_id == tenant_id)
    made = sa.select(case_recordings.c.sound_sha256).where(case_recordings.c.call_id == call_id)
    with engine.begin() as connection:
        # A sound that is kept at the same moment either is seen here or finds no call any more.
        hold(connection, f"call/{call_id}")
        sha256 = connection.execute(sa.select(calls.c.recording_sha256).where(*mine)).scalar()
        if sha256 is None:
            return False
        sound = connection.execute(made).scalar()
        files = [sound, sha256] if sound else [sha256]
        for file in sorted(files):  # in one order everywhere, or two removals could wait for each other
            hold(connection, f"{tenant_id}/{file}")
        conduct.forget_call(connection, call_id)
        # A hold that comes at the same moment either is seen here or finds no call any more.
        if not connection.execute(sa.delete(calls).where(*mine, calls.c.held_because.is_(None))).rowcount:
            raise refusal(409, "call held", "the call is held, so nobody deletes it; an administrator can let it go")
        audit.record(connection, tenant_id, actor, Action.CALL_DELETED, call_id, recording_sha256=sha256)
        for file in files:
            if not _in_use(connection, tenant_id, file):
                # Before the commit: if it fails now, the call is still there to be removed once more.
                forget_recording(tenant_id, file)
    return True


def forget_unused(engine: sa.Engine, tenant_id: str, sha256: str, forget_recording: Callable[[str, str], None]) -> None:
    """After an acceptance that failed: its recording may be in place without its row."""
    with engine.begin() as connection:
        hold(connection, f"{tenant_id}/{sha256}")
        if not _in_use(connection, tenant_id, sha256):
            forget_recording(tenant_id, sha256)


def begin(engine: sa.Engine, call_id: str) -> Attempt | None:
    """None if the call is finished or gone."""
    with engine.begin() as connection:
        row = connection.execute(
            sa.update(calls)
            .where(calls.c.id == call_id, calls.c.status.in_(_OPEN))
            .values(status=Status.PROCESSING, attempts=calls.c.attempts + 1, progress=0.0)
            .returning(
                calls.c.id,
                calls.c.tenant_id,
                calls.c.attempts,
                calls.c.recording_sha256,
                calls.c.collector_channel,
            )
        ).one_or_none()
    return Attempt(*row) if row else None


def advance(engine: sa.Engine, attempt: Attempt, progress: float) -> bool:
    """False if the call is no longer this attempt's."""
    return _change(engine, attempt, progress=progress)


def give_back(engine: sa.Engine, attempt: Attempt) -> None:
    """An attempt that was stopped on purpose does not count."""
    _change(engine, attempt, status=Status.QUEUED, progress=0.0, attempts=attempt.count - 1)


def finish(engine: sa.Engine, attempt: Attempt, report: Report) -> bool:
    """False if the call is no longer this attempt's; then nothing is kept of the report."""
    found = {label for said in accused(report.utterances) for label in said.labels} or {Label.COMPLIANT}

    def keep(connection: sa.Connection) -> None:
        for table, labels in ((call_labels, found), (call_verdicts, report.summary.verdict)):
            if rows := [{"call_id": attempt.call_id, "label": str(label)} for label in labels]:
                connection.execute(sa.insert(table), rows)
        search.index(connection, attempt.call_id, report)
        review_queue.enter(connection, attempt.call_id, report)
        webhooks_outbox.tell_done(connection, attempt.call_id, report)

    return _change(
        engine,
        attempt,
        keep,
        status=Status.DONE,
        progress=1.0,
        report=report.model_dump_json(),
        seconds=report.recording.duration,
        finished_at=datetime.now(UTC),
    )


def fail(engine: sa.Engine, attempt: Attempt, problem: Problem) -> bool:
    told = problem.model_dump_json(exclude_none=True)

    def tell(connection: sa.Connection) -> None:
        webhooks_outbox.tell_failed(connection, attempt.call_id, problem)

    return _change(engine, attempt, tell, status=Status.FAILED, problem=told, finished_at=datetime.now(UTC))


def still_open(engine: sa.Engine, call_ids: Iterable[str]) -> set[str]:
    with engine.connect() as connection:
        query = sa.select(calls.c.id).where(calls.c.id.in_(list(call_ids)), calls.c.status.in_(_OPEN))
        return set(connection.execute(query).scalars())


_SHOWN = tuple(
    calls.c[name]
    for name in (
        "number",
        "id",
        "tenant_id",
        "status",
        "progress",
        "details",
        "recording_sha256",
        "recording_bytes",
        "media_type",
        "received_at",
        "finished_at",
    )
)


def _read(connection: sa.Connection, query: sa.Select[*tuple[object, ...]]) -> list[Call]:
    rows = connection.execute(query).mappings().all()
    ids = [row["id"] for row in rows]
    labels: dict[str, list[Label]] = {call_id: [] for call_id in ids}
    for call_id, label in connection.execute(sa.select(call_labels).where(call_labels.c.call_id.in_(ids))):
        labels[call_id].append(Label(label))
    order = list(Label)
    return [
        Call(**{**row, "status": Status(row["status"]), "labels": tuple(sorted(labels[row["id"]], key=order.index))})
        for row in rows
    ]


def _in_use(connection: sa.Connection, tenant_id: str, sha256: str) -> bool:
    """As a recording, or as the sound made of one: whoever sends in a sound that they saved has one file for both."""
    same = sa.exists().where(calls.c.recording_sha256 == sha256, calls.c.tenant_id == tenant_id)
    sound = sa.exists().where(case_recordings.c.sound_sha256 == sha256, case_recordings.c.case_id == tenant_id)
    return bool(connection.execute(sa.select(same | sound)).scalar())


def _change(
    engine: sa.Engine, attempt: Attempt, then: Callable[[sa.Connection], None] | None = None, **values: object
) -> bool:
    with engine.begin() as connection:
        changed = connection.execute(
            sa.update(calls)
            .where(
                calls.c.id == attempt.call_id,
                calls.c.status == Status.PROCESSING,
                calls.c.attempts == attempt.count,
            )
            .values(**values)
        ).rowcount
        if changed and then:
            then(connection)
    return bool(changed)
