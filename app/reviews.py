"""What people decide about utterances: kept beside the model's findings, which stay as they were."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self
from uuid import uuid4

import sqlalchemy as sa

from app import audit, review_queue, webhooks_outbox
from app.audit import Action
from app.database import hold
from app.tables import call_verdicts, calls, reviews
from app.webhooks_outbox import ToldReview
from models.call import Label
from pipelines.redaction import redact
from pipelines.report import Report, UtterancePart
from pipelines.verdict import kappa, verdict

_AT_ONCE = 200


class Kind(StrEnum):
    REVIEW = "review"
    DISPUTE = "dispute"  # the collector's side objects; changes nothing until it is decided
    DECISION = "decision"  # upon a dispute
    NOTE = "note"  # a remark; changes nothing
    WITHDRAWAL = "withdrawal"  # takes back the last that its reviewer said of the utterance; both stay on record


class Ruling(StrEnum):
    CONFIRM = "confirm"  # it is what the model found
    CORRECT = "correct"  # it is something else
    REJECT = "reject"  # it is compliant


@dataclass(frozen=True, slots=True)
class Review:
    number: int
    id: str
    call_id: str
    utterance: int
    kind: Kind
    verdict: Ruling | None  # of a review or a decision
    labels: tuple[Label, ...]  # what the utterance is, by this; empty: compliant, or no verdict
    note: str
    reviewer: str
    created_at: datetime

    def masked(self) -> Self:
        """As those may see it who see redacted texts."""
        return replace(self, note=redact(self.note))


@dataclass(frozen=True, slots=True)
class NewReview:
    call_id: str
    utterance: int
    kind: Kind
    verdict: Ruling | None
    labels: tuple[Label, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of utterances that two people reviewed on their own, by primary label."""

    utterances: int
    agreed: int
    kappa: float | None


class Overtaken(Exception):
    """Another has reviewed the utterance since it was looked at; nothing was kept."""

    def __init__(self, by: Review) -> None:
        super().__init__(f"utterance {by.utterance} was reviewed meanwhile")
        self.by = by


class NothingToWithdraw(Exception):
    """Of this reviewer nothing is in force there, or something else than what was to be withdrawn."""


def add(
    engine: sa.Engine, tenant_id: str, reviewer: str, new: NewReview, report: Report, *, seen: int | None = None
) -> Review:
    """The verdict of the call follows in the same transaction.

    `seen`: the number of the utterance's newest review that the reviewer knows, 0 for none; None asks nothing. Raises
    Overtaken where another has given a later one, and NothingToWithdraw.
    """
    review = Review(
        number=0,
        id=str(uuid4()),
        call_id=new.call_id,
        utterance=new.utterance,
        kind=new.kind,
        verdict=new.verdict,
        labels=new.labels,
        note=new.note,
        reviewer=reviewer,
        created_at=datetime.now(UTC),
    )
    with engine.begin() as connection:
        hold(connection, f"reviews/{new.call_id}")  # two at once must both count in the verdict
        _check(in_force(_of_call(connection, new.call_id)), new, reviewer, seen)
        values = {name: getattr(review, name) for name in Review.__slots__ if name not in ("number", "labels")}
        values |= {"tenant_id": tenant_id, "labels": ",".join(new.labels)}
        connection.execute(sa.insert(reviews).values(values))
        decided = decided_labels(_of_call(connection, new.call_id))
        review_queue.settle(connection, new.call_id, report.utterances, decided)
        gone = connection.execute(sa.delete(call_verdicts).where(call_verdicts.c.call_id == new.call_id)).rowcount
        if now := verdict(report.utterances, decided):
            connection.execute(
                sa.insert(call_verdicts), [{"call_id": new.call_id, "label": str(label)} for label in now]
            )
        told = {name: getattr(review, name) for name in ToldReview.model_fields}
        webhooks_outbox.tell_reviewed(connection, new.call_id, ToldReview(**told), now)
        if now and not gone:
            webhooks_outbox.tell_flagged(connection, new.call_id, report, now, "review")
        facts: dict[str, str | int] = {"utterance": new.utterance, "kind": str(new.kind), "review": review.id}
        audit.record(connection, tenant_id, reviewer, Action.REVIEWED, new.call_id, **facts)
    return review


def of_call(engine: sa.Engine, call_id: str) -> list[Review]:
    """Oldest first, with what was withdrawn."""
    with engine.connect() as connection:
        return _of_call(connection, call_id)


def in_force(reviewed: Iterable[Review]) -> list[Review]:
    """Without withdrawals and what they took back."""
    standing: list[Review] = []
    for review in reviewed:
        if review.kind is not Kind.WITHDRAWAL:
            standing.append(review)
        elif last := last_of(standing, review.reviewer, review.utterance):
            standing.remove(last)
    return standing


def last_of(standing: Sequence[Review], reviewer: str, utterance: int | None = None) -> Review | None:
    """What the reviewer said last, of this utterance or of any; `standing`: reviews in force."""
    own = (r for r in reversed(standing) if r.reviewer == reviewer and utterance in (None, r.utterance))
    return next(own, None)


def decided_labels(reviewed: Iterable[Review]) -> dict[int, tuple[Label, ...]]:
    """By utterance, as decided last."""
    return {review.utterance: review.labels for review in in_force(reviewed) if review.verdict is not None}


def current_verdict(engine: sa.Engine, call_id: str) -> tuple[Label, ...]:
    query = sa.select(call_verdicts.c.label).where(call_verdicts.c.call_id == call_id)
    with engine.connect() as connection:
        found = set(connection.execute(query).scalars())
    return tuple(label for label in Label if label in found)


def disputed(reviewed: list[Review]) -> set[int]:
    """Utterances whose last word is a dispute."""
    last = {review.utterance: review.kind for review in in_force(reviewed) if review.kind is not Kind.NOTE}
    return {utterance for utterance, kind in last.items() if kind is Kind.DISPUTE}


def agreement(engine: sa.Engine, tenant_id: str) -> Agreement:
    pairs = []
    for _, reviewed in _by_call(engine, tenant_id):
        for opinions in _opinions(reviewed).values():
            if len(opinions) >= 2:
                first, second = (opinions[name] for name in sorted(opinions)[:2])
                pairs.append((_primary(first), _primary(second)))
    return Agreement(len(pairs), sum(a == b for a, b in pairs), kappa(pairs))


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An utterance that people decided about."""

    call_id: str
    utterance: int
    labels: tuple[Label, ...]  # as decided last
    contested: bool  # two people saw it differently


def decided(engine: sa.Engine, tenant_id: str) -> Iterator[tuple[Report, list[Reviewed]]]:
    """Call by call, oldest review first."""
    for call_id, reviewed in _by_call(engine, tenant_id):
        with engine.connect() as connection:
            stored = connection.execute(sa.select(calls.c.report).where(calls.c.id == call_id)).scalar()
        last = decided_labels(reviewed)
        if stored is None or not last:
            continue
        views = {place: set(opinions.values()) for place, opinions in _opinions(reviewed).items()}
        found = [Reviewed(call_id, place, last[place], len(views.get(place, ())) > 1) for place in sorted(last)]
        yield Report.model_validate_json(stored), found


def decisions(
    engine: sa.Engine, tenant_id: str, *, called_from: datetime, called_before: datetime
) -> Iterator[tuple[str, dict[int, tuple[Label, ...]]]]:
    """Of calls of this time, call by call: what its utterances are, as decided last."""
    then = (calls.c.called_at >= called_from, calls.c.called_at < called_before)
    for call_id, reviewed in _by_call(engine, tenant_id, *then):
        if decided_there := decided_labels(reviewed):
            yield call_id, decided_there


def labels_by(ruling: Ruling, utterance: UtterancePart, corrected: tuple[Label, ...]) -> tuple[Label, ...]:
    if ruling is Ruling.CONFIRM:
        return utterance.labels
    return corrected if ruling is Ruling.CORRECT else ()


def _check(standing: Sequence[Review], new: NewReview, reviewer: str, seen: int | None) -> None:
    if new.kind is Kind.WITHDRAWAL and last_of(standing, reviewer, new.utterance) is None:
        raise NothingToWithdraw
    others = [
        r for r in standing if r.utterance == new.utterance and r.reviewer != reviewer and r.kind is not Kind.NOTE
    ]
    if new.kind is not Kind.NOTE and seen is not None and others and others[-1].number > seen:
        raise Overtaken(others[-1])


def _opinions(reviewed: list[Review]) -> dict[int, dict[str, tuple[Label, ...]]]:
    """By utterance and reviewer; what one said last counts. Decisions know the others' views and are left out."""
    found: dict[int, dict[str, tuple[Label, ...]]] = {}
    for review in in_force(reviewed):
        if review.kind is Kind.REVIEW:
            found.setdefault(review.utterance, {})[review.reviewer] = review.labels
    return found


def _primary(labels: tuple[Label, ...]) -> Label:
    return labels[0] if labels else Label.COMPLIANT


def _by_call(engine: sa.Engine, tenant_id: str, *chosen: sa.ColumnElement[bool]) -> Iterator[tuple[str, list[Review]]]:
    """In the order of their first review, a page of calls in memory at a time. `chosen`: which calls."""
    earlier = reviews.alias()
    query = (
        sa.select(reviews.c.number, reviews.c.call_id)
        .join(calls, calls.c.id == reviews.c.call_id)
        .where(reviews.c.tenant_id == tenant_id, *chosen)
        .where(~sa.exists().where(earlier.c.call_id == reviews.c.call_id, earlier.c.number < reviews.c.number))
        .order_by(reviews.c.number)
        .limit(_AT_ONCE)
    )
    last = 0
    while True:
        with engine.connect() as connection:
            page = connection.execute(query.where(reviews.c.number > last)).all()
            grouped: dict[str, list[Review]] = {row.call_id: [] for row in page}
            found = sa.select(reviews).where(reviews.c.call_id.in_(grouped)).order_by(reviews.c.number)
            for row in connection.execute(found):
                grouped[row.call_id].append(_review(row))
        yield from grouped.items()
        if len(page) < _AT_ONCE:
            return
        last = page[-1].number


def _of_call(connection: sa.Connection, call_id: str) -> list[Review]:
    query = sa.select(reviews).where(reviews.c.call_id == call_id).order_by(reviews.c.number)
    return [_review(row) for row in connection.execute(query)]


def _review(row: sa.Row[*tuple[object, ...]]) -> Review:
    values = row._asdict()
    del values["tenant_id"]
    values["kind"] = Kind(values["kind"])
    values["verdict"] = Ruling(values["verdict"]) if values["verdict"] else None
    values["labels"] = tuple(Label(label) for label in values["labels"].split(",") if label)
    return Review(**values)
