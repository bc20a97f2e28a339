"""Done calls and what people decided about them -> the order in which people hear them, worst first."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from app import search
from app.tables import call_labels, call_verdicts, calls, review_queue, utterances
from models.call import KINDS, Label, Speaker
from pipelines.evidence.words import highest
from pipelines.report import Report, UtterancePart, accused


class Progress(StrEnum):
    """How far people have come with a call's flagged utterances."""

    NONE = "none"  # nothing of the call is decided
    SOME = "some"
    ALL = "all"  # every flagged utterance is decided


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls; None wants all."""

    tenant_id: str
    label: Label | None = None  # as the model found it
    flagged: bool | None = None
    min_score: float | None = None  # of `label`, or without one of any kind of abuse
    max_score: float | None = None
    collector_id: str | None = None
    agency: str | None = None
    called_from: datetime | None = None
    called_before: datetime | None = None
    needs_review: bool | None = None  # a flagged utterance waits for a person to hear it
    progress: Progress | None = None
    text: str | None = None  # any part of what is said, as redacted


@dataclass(frozen=True, slots=True)
class Place:
    """Of a call in the queue: its score in it, and of equal ones the newest first."""

    score: float
    number: int


@dataclass(frozen=True, slots=True)
class Queued:
    call_id: str
    place: Place
    worst: float  # highest score of its flagged utterances, or where none is flagged of all but the borrower's
    quoted: int | None  # the utterance that has it, or in a search the first that has the words; None: none at all
    quote: str  # redacted
    flagged: int
    undecided: int
    decided: int
    awaiting: int
    collector_id: str | None
    agency: str | None
    called_at: datetime
    seconds: float
    found: tuple[Label, ...]  # by the model
    verdict: tuple[Label, ...]  # as it is after reviews


def enter(connection: sa.Connection, call_id: str, report: Report) -> None:
    """A call that is done."""
    call = connection.execute(sa.select(calls.c.tenant_id, calls.c.number).where(calls.c.id == call_id)).one()
    others = [u for u in report.utterances if u.speaker is not Speaker.BORROWER]
    worst = max(accused(report.utterances) or others, key=highest, default=None)
    connection.execute(
        sa.insert(review_queue).values(
            **call._mapping,
            call_id=call_id,
            worst=highest(worst) if worst else 0.0,
            place=worst.index if worst else None,
            **{kind.value: max((getattr(u.scores, kind) for u in others), default=0.0) for kind in KINDS},
            **_counts(report.utterances, ()),
        )
    )


def settle(connection: sa.Connection, call_id: str, said: Iterable[UtterancePart], decided: Collection[int]) -> None:
    """`decided`: the utterances that people have decided about by now."""
    connection.execute(
        sa.update(review_queue).where(review_queue.c.call_id == call_id).values(**_counts(said, decided))
    )


def page(engine: sa.Engine, wanted: Wanted, after: Place | None, size: int) -> list[Queued]:
    """Worst first; `after`: the place of the last call of the page before this."""
    score = _score(wanted.label)
    query = sa.select(*_SHOWN, score.label("score")).join_from(
        review_queue, calls, review_queue.c.call_id == calls.c.id
    )
    query = query.where(*_conditions(engine.dialect.name, wanted))
    if after is not None:
        lower = sa.and_(score == after.score, review_queue.c.number < after.number)
        query = query.where(sa.or_(score < after.score, lower))
    query = query.order_by(score.desc(), review_queue.c.number.desc()).limit(size)
    with engine.connect() as connection:
        return _read(connection, query, wanted.text)


def place_of(engine: sa.Engine, tenant_id: str, call_id: str, label: Label | None) -> Place | None:
    """In a queue of this label."""
    query = sa.select(_score(label), review_queue.c.number).where(
        review_queue.c.call_id == call_id, review_queue.c.tenant_id == tenant_id
    )
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    return Place(*row) if row else None


def _counts(said: Iterable[UtterancePart], decided: Collection[int]) -> dict[str, int]:
    flagged = accused(said)
    open_ones = [u for u in flagged if u.index not in decided]
    return {
        "flagged": len(flagged),
        "undecided": len(open_ones),
        "awaiting": sum(u.needs_review for u in open_ones),
        "decided": len(decided),
    }


def _score(label: Label | None) -> sa.ColumnElement[float]:
    return review_queue.c[label.value] if label in KINDS else review_queue.c.worst


def _conditions(dialect: str, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    q, score = review_queue.c, _score(wanted.label)
    found = [q.tenant_id == wanted.tenant_id]
    if wanted.label is not None:
        labelled = sa.select(call_labels.c.call_id).where(call_labels.c.label == str(wanted.label))
        found.append(q.call_id.in_(labelled))
    if wanted.flagged is not None:
        found.append(q.flagged > 0 if wanted.flagged else q.flagged == 0)
    if wanted.min_score is not None:
        found.append(score >= wanted.min_score)
    if wanted.max_score is not None:
        found.append(score <= wanted.max_score)
    if wanted.collector_id is not None:
        found.append(calls.c.collector_id == wanted.collector_id)
    if wanted.agency is not None:
        found.append(calls.c.agency == wanted.agency)
    if wanted.called_from is not None:
        found.append(calls.c.called_at >= wanted.called_from)
    if wanted.called_before is not None:
        found.append(calls.c.called_at < wanted.called_before)
    if wanted.needs_review is not None:
        found.append(q.awaiting > 0 if wanted.needs_review else q.awaiting == 0)
    if wanted.progress is not None:
        found.append(
            {
                Progress.NONE: q.decided == 0,
                Progress.SOME: sa.and_(q.decided > 0, q.undecided > 0),
                Progress.ALL: sa.and_(q.decided > 0, q.undecided == 0),
            }[wanted.progress]
        )
    if wanted.text is not None:
        found.append(q.call_id.in_(search.calls_that_say(dialect, wanted.tenant_id, wanted.text)))
    return found


_SHOWN = (
    *(review_queue.c[name] for name in ("call_id", "number", "worst", "place")),
    *(review_queue.c[name] for name in ("flagged", "undecided", "decided", "awaiting")),
    *(calls.c[name] for name in ("collector_id", "agency", "called_at", "seconds")),
)


def _read(connection: sa.Connection, query: sa.Select[*tuple[object, ...]], text: str | None) -> list[Queued]:
    rows = connection.execute(query).all()
    ids = [row.call_id for row in rows]
    found, verdict = (_labels(connection, table, ids) for table in (call_labels, call_verdicts))
    quotes = _quotes(connection, {row.call_id: row.place for row in rows}, text)
    return [
        Queued(
            call_id=row.call_id,
            place=Place(row.score, row.number),
            worst=row.worst,
            quoted=quotes[row.call_id][0],
            quote=quotes[row.call_id][1],
            flagged=row.flagged,
            undecided=row.undecided,
            decided=row.decided,
            awaiting=row.awaiting,
            collector_id=row.collector_id,
            agency=row.agency,
            called_at=row.called_at,
            seconds=row.seconds or 0.0,
            found=found[row.call_id],
            verdict=verdict[row.call_id],
        )
        for row in rows
    ]


def _labels(connection: sa.Connection, table: sa.Table, ids: list[str]) -> dict[str, tuple[Label, ...]]:
    held: dict[str, set[str]] = {call_id: set() for call_id in ids}
    for call_id, label in connection.execute(sa.select(table.c.call_id, table.c.label).where(table.c.call_id.in_(ids))):
        held[call_id].add(label)
    return {call_id: tuple(label for label in Label if label in labels) for call_id, labels in held.items()}


def _quotes(
    connection: sa.Connection, worst: dict[str, int | None], text: str | None
) -> dict[str, tuple[int | None, str]]:
    """Of each call its worst utterance, or the first that has the words."""
    u = utterances.c
    query = sa.select(u.call_id, u.place, u.text).where(u.call_id.in_(worst), u.suppressed.is_(False))
    if text is None:
        query = query.where(u.place.in_({place for place in worst.values() if place is not None}))
    else:
        query = query.where(u.text.contains(text, autoescape=True))
    found: dict[str, tuple[int | None, str]] = {call_id: (place, "") for call_id, place in worst.items()}
    for call_id, place, said in connection.execute(query.order_by(u.id.desc())):
        if text is not None or place == worst[call_id]:
            found[call_id] = (place, said)
    return found
