"""Done calls -> how each collector, or each agency, fares: by verdicts as they are after reviews."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import sqlalchemy as sa

from app.calls import Status
from app.tables import call_verdicts, calls, review_queue, reviews
from models.call import KINDS, Label

By = Literal["collector_id", "agency", "tenant_id"]  # the last: all calls as one


@dataclass(frozen=True, slots=True)
class Week:
    monday: date  # of the week in UTC
    calls: int
    flagged: int


@dataclass(frozen=True, slots=True)
class Scorecard:
    name: str
    calls: int
    seconds: float
    flagged: int
    by_kind: dict[Label, int]  # calls in whose verdict the kind is
    reviewed: int  # flagged by model or people, with at least one review
    confirmed: int  # of the reviewed: those whose verdict still holds abuse
    weeks: tuple[Week, ...]


def scorecards(
    engine: sa.Engine,
    tenant_id: str,
    by: By,
    *,
    called_from: datetime | None,
    called_before: datetime | None,
    after: str | None,
    size: int,
) -> list[Scorecard]:
    """By name; `after` is the last name of the page before this."""
    who = calls.c[by]
    chosen = [calls.c.tenant_id == tenant_id, calls.c.status == str(Status.DONE), who.is_not(None)]
    if called_from is not None:
        chosen.append(calls.c.called_at >= called_from)
    if called_before is not None:
        chosen.append(calls.c.called_at < called_before)
    if after is not None:
        chosen.append(who > after)
    with engine.connect() as connection:
        names = list(connection.execute(sa.select(who).where(*chosen).distinct().order_by(who).limit(size)).scalars())
        chosen.append(who.in_(names))
        kinds = _by_kind(connection, who, chosen)
        reviewed, confirmed = _reviewed(connection, who, chosen)
        weeks, seconds = _weeks(connection, who, chosen)
    return [
        Scorecard(
            name=name,
            calls=sum(week.calls for week in weeks[name]),
            seconds=seconds[name],
            flagged=sum(week.flagged for week in weeks[name]),
            by_kind={kind: kinds[name][kind] for kind in KINDS},
            reviewed=reviewed[name],
            confirmed=confirmed[name],
            weeks=weeks[name],
        )
        for name in names
    ]


_FLAGGED = sa.exists().where(call_verdicts.c.call_id == calls.c.id)
# Few calls have reviews, so these lead to the calls and not the other way round.
_REVIEWED = calls.c.id.in_(
    sa.select(reviews.c.call_id)
    .join(review_queue, review_queue.c.call_id == reviews.c.call_id)
    .where(reviews.c.verdict.is_not(None), review_queue.c.decided > 0)  # and not all of it taken back
)

_Who = sa.Column[str]
_Chosen = Sequence[sa.ColumnElement[bool]]


def _by_kind(connection: sa.Connection, who: _Who, chosen: _Chosen) -> dict[str, Counter[Label]]:
    query = sa.select(who, call_verdicts.c.label, sa.func.count()).join_from(calls, call_verdicts)
    found: dict[str, Counter[Label]] = defaultdict(Counter)
    for name, label, count in connection.execute(query.where(*chosen).group_by(who, call_verdicts.c.label)):
        found[name][Label(label)] = count
    return found


def _reviewed(connection: sa.Connection, who: _Who, chosen: _Chosen) -> tuple[Counter[str], Counter[str]]:
    holds = sa.func.sum(sa.case((_FLAGGED, 1), else_=0))
    query = sa.select(who, sa.func.count(), holds).where(*chosen, _REVIEWED).group_by(who)
    reviewed: Counter[str] = Counter()
    confirmed: Counter[str] = Counter()
    for name, count, still in connection.execute(query):
        reviewed[name], confirmed[name] = count, still
    return reviewed, confirmed


def _weeks(
    connection: sa.Connection, who: _Who, chosen: _Chosen
) -> tuple[dict[str, tuple[Week, ...]], dict[str, float]]:
    """And the seconds of all weeks together."""
    if connection.dialect.name == "sqlite":
        monday = sa.func.date(calls.c.called_at, "-6 days", "weekday 1", type_=sa.Date)
    else:
        monday = sa.func.date_trunc("week", sa.func.timezone("UTC", calls.c.called_at), type_=sa.DateTime)
    flagged = sa.func.sum(sa.case((_FLAGGED, 1), else_=0))
    labelled = monday.label("monday")
    query = sa.select(who, labelled, sa.func.count(), flagged, sa.func.sum(calls.c.seconds)).where(*chosen)
    found: dict[str, tuple[Week, ...]] = defaultdict(tuple)
    seconds: dict[str, float] = defaultdict(float)
    for name, week, count, bad, heard in connection.execute(
        query.group_by(who, sa.literal_column("monday")).order_by(who, labelled)
    ):
        found[name] += (Week(week.date() if isinstance(week, datetime) else week, count, bad),)
        seconds[name] += heard or 0.0
    return found, seconds
