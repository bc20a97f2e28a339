"""/v1/collectors and /v1/agencies: how each fares over time."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Self

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from app import scorecards
from app.access import Reading
from app.deps import DatabaseDep
from app.moments import Moment
from app.routes import tenant_router
from app.scorecards import By, Scorecard
from pipelines.intervals import wilson

router = tenant_router("/v1", "scorecards")


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


@dataclass(frozen=True, slots=True)
class Asked:
    """What both routes take."""

    caller: Reading
    database: DatabaseDep
    called_from: Moment | None = None
    called_before: Moment | None = None
    after: Annotated[str | None, Query(max_length=200)] = None
    limit: Annotated[int, Query(ge=1, le=200)] = 50


@router.get("/collectors")
def collector_scorecards(asked: Annotated[Asked, Depends()]) -> ScorecardPage:
    """Of every collector with done calls; calls that came without collector_id are in none."""
    return _page(asked, "collector_id")


@router.get("/agencies")
def agency_scorecards(asked: Annotated[Asked, Depends()]) -> ScorecardPage:
    """Of every agency with done calls; calls that came without agency are in none."""
    return _page(asked, "agency")


def _page(asked: Asked, by: By) -> ScorecardPage:
    found = scorecards.scorecards(
        asked.database,
        asked.caller.tenant_id,
        by,
        called_from=asked.called_from,
        called_before=asked.called_before,
        after=asked.after,
        size=asked.limit + 1,
    )
    shown = found[: asked.limit]
    return ScorecardPage(
        scorecards=[ScorecardShown.of(card) for card in shown],
        next_after=shown[-1].name if len(found) > asked.limit else None,
    )
