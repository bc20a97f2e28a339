"""/v1/collectors and /v1/agencies: how each fares over time."""

from datetime import date
from typing import Annotated, Self

import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from app import scorecards
from app.access import Caller, Reading
from app.deps import DatabaseDep
from app.errors import Problem
from app.routes import TenantRoute
from app.scorecards import By, Scorecard
from pipelines.intervals import wilson

_PROBLEM = {"model": Problem, "content": {"application/problem+json": {}}}

router = APIRouter(
    prefix="/v1", tags=["scorecards"], route_class=TenantRoute, responses={"4XX": _PROBLEM, "5XX": _PROBLEM}
)


class KindCounts(BaseModel):
    threat: int
    insult: int
    third_party_contact: int


class WeekShown(BaseModel):
    monday: date = Field(description="First day of the week, in UTC")
    calls: int
    flagged_calls: int


class ScorecardShown(BaseModel):
    name: str
    calls: int
    minutes: float
    flagged_calls: int = Field(description="With abuse in their verdict, as it is after reviews")
    flagged_rate: float
    flagged_rate_interval: tuple[float, float] = Field(description="Wilson's, 95 %")
    flagged_calls_by_kind: KindCounts
    reviewed_calls: int
    confirmed_calls: int = Field(description="Reviewed, and abuse is still in the verdict")
    weeks: list[WeekShown]

    @classmethod
    def of(cls, card: Scorecard) -> Self:
        low, high = wilson(card.flagged, card.calls)
        return cls(
            name=card.name,
            calls=card.calls,
            minutes=round(card.seconds / 60, 2),
            flagged_calls=card.flagged,
            flagged_rate=round(card.flagged / card.calls, 4),
            flagged_rate_interval=(round(low, 4), round(high, 4)),
            flagged_calls_by_kind=KindCounts(**{kind.value: count for kind, count in card.by_kind.items()}),
            reviewed_calls=card.reviewed,
            confirmed_calls=card.confirmed,
            weeks=[WeekShown(monday=w.monday, calls=w.calls, flagged_calls=w.flagged) for w in card.weeks],
        )


class ScorecardPage(BaseModel):
    scorecards: list[ScorecardShown] = Field(description="By name")
    next_after: str | None = Field(description="Send it as `after` for the next page; null on the last")


_After = Annotated[str | None, Query(max_length=200)]
_Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/collectors")
def collector_scorecards(
    *,
    caller: Reading,
    database: DatabaseDep,
    called_from: AwareDatetime | None = None,
    called_before: AwareDatetime | None = None,
    after: _After = None,
    limit: _Limit = 50,
) -> ScorecardPage:
    """Of every collector with done calls; calls that came without collector_id are in none."""
    return _page(database, caller, "collector_id", called_from, called_before, after=after, limit=limit)


@router.get("/agencies")
def agency_scorecards(
    *,
    caller: Reading,
    database: DatabaseDep,
    called_from: AwareDatetime | None = None,
    called_before: AwareDatetime | None = None,
    after: _After = None,
    limit: _Limit = 50,
) -> ScorecardPage:
    """Of every agency with done calls; calls that came without agency are in none."""
    return _page(database, caller, "agency", called_from, called_before, after=after, limit=limit)


def _page(
    database: sa.Engine,
    caller: Caller,
    by: By,
    called_from: AwareDatetime | None,
    called_before: AwareDatetime | None,
    *,
    after: str | None,
    limit: int,
) -> ScorecardPage:
    found = scorecards.scorecards(
        database,
        caller.tenant_id,
        by,
        called_from=called_from,
        called_before=called_before,
        after=after,
        size=limit + 1,
    )
    shown = found[:limit]
    return ScorecardPage(
        scorecards=[ScorecardShown.of(card) for card in shown],
        next_after=shown[-1].name if len(found) > limit else None,
    )
