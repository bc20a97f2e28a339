"""GET /v1/conduct: what only several calls together show."""

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import Query
from pydantic import BaseModel, Field

from app import conduct
from app.access import Reading
from app.conduct import Kept, Wanted
from app.deps import DatabaseDep
from app.moments import Moment
from app.routes import tenant_router
from pipelines.conduct import Call

router = tenant_router("/v1/conduct", "conduct")

_Name = Annotated[str | None, Query(max_length=200)]


class ShownRule(BaseModel):
    id: str
    title: str
    jurisdiction: str
    source: str = Field(description="The text that it comes from; reference, not legal advice")
    status: Literal["read", "secondary", "house"] = Field(
        description="How well that text is known: `read` in a reprint, `secondary` from what others write of it,"
        " `house`: a limit of one's own"
    )
    time_zone: str = Field(description="Whose hours and days it goes by")


class ProvingCall(BaseModel):
    id: str = Field(description="As at /v1/calls")
    called_at: datetime
    collector_id: str | None
    agency: str | None

    @classmethod
    def of(cls, call: Call) -> Self:
        assert call.called_at  # only calls with a time are judged
        return cls(id=call.call_id, called_at=call.called_at, collector_id=call.collector_id, agency=call.agency)


class ShownFinding(BaseModel):
    id: str = Field(description="Of this rule broken by these calls; with other calls it is another finding")
    rule: ShownRule
    borrower_ref: str | None
    collectors: list[str]
    agencies: list[str]
    first_at: datetime
    last_at: datetime
    count: int = Field(description="What the rule limits")
    limit: int | None = Field(description="How many it allows; null: none")
    calls: list[ProvingCall] = Field(description="Which prove it, in order of time")

    @classmethod
    def of(cls, kept: Kept) -> Self:
        rule = kept.rule
        return cls(
            id=kept.id,
            rule=ShownRule(
                id=rule.id,
                title=rule.title,
                jurisdiction=rule.jurisdiction,
                source=rule.source,
                status=rule.status,
                time_zone=kept.time_zone,
            ),
            borrower_ref=kept.borrower_ref,
            collectors=sorted({call.collector_id for call in kept.calls if call.collector_id}),
            agencies=sorted({call.agency for call in kept.calls if call.agency}),
            first_at=kept.first_at,
            last_at=kept.last_at,
            count=kept.count,
            limit=kept.limit,
            calls=[ProvingCall.of(call) for call in kept.calls],
        )


class ConductPage(BaseModel):
    findings: list[ShownFinding] = Field(description="Those imported last come first")
    next_before: int | None = Field(description="Send it as `before` for the next page; null on the last")


@router.get("")
def list_findings(
    *,
    caller: Reading,
    database: DatabaseDep,
    rule: Annotated[str | None, Query(max_length=100, description="Its id")] = None,
    borrower_ref: _Name = None,
    collector_id: Annotated[_Name, Query(description="Findings that a call of theirs proves, as `agency`")] = None,
    agency: _Name = None,
    called_from: Annotated[Moment | None, Query(description="Findings whose last call is not earlier")] = None,
    called_before: Annotated[Moment | None, Query(description="Findings whose first call is earlier")] = None,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ConductPage:
    """Findings that `callaudit archive import` brought along: calls at night, too many a day, after a refusal."""
    wanted = Wanted(caller.tenant_id, rule, borrower_ref, collector_id, agency, called_from, called_before)
    found = conduct.page(database, wanted, before, limit + 1)
    shown = found[:limit]
    return ConductPage(
        findings=[ShownFinding.of(kept) for kept in shown],
        next_before=shown[-1].number if len(found) > limit else None,
    )
