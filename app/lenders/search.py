"""GET /v1/utterances: what was said, across calls."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import Query
from pydantic import BaseModel, Field, StringConstraints

from app import search
from app.access import Reading
from app.deps import DatabaseDep
from app.moments import Moment
from app.routes import tenant_router
from app.search import Found, Sought
from models.call import Label, Speaker
from pipelines.report import Scores

router = tenant_router("/v1/utterances", "search")

_Name = Annotated[str | None, Query(max_length=200)]
_Share = Annotated[float | None, Query(ge=0, le=1)]
_Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"\S")]


class FoundUtterance(BaseModel):
    call_id: str
    index: int | None = Field(description="Of the utterance in its call; null: suppressed words, which are none")
    speaker: Speaker
    start: float = Field(description="Seconds from the start of the recording")
    end: float
    text: str = Field(description="Redacted")
    label: Label = Field(description="The primary label, as the model found it")
    scores: Scores
    needs_review: bool
    suppressed: bool
    collector_id: str | None
    agency: str | None
    called_at: datetime

    @classmethod
    def of(cls, found: Found) -> Self:
        return cls(
            call_id=found.call_id,
            index=found.place,
            speaker=found.speaker,
            start=found.start,
            end=found.stop,
            text=found.text,
            label=found.label,
            scores=Scores(threat=found.threat, insult=found.insult, third_party_contact=found.third_party_contact),
            needs_review=found.needs_review,
            suppressed=found.suppressed,
            collector_id=found.collector_id,
            agency=found.agency,
            called_at=found.called_at,
        )


class UtterancePage(BaseModel):
    utterances: list[FoundUtterance] = Field(description="Newest call first")
    next_before: int | None = Field(description="Send it as `before` for the next page; null on the last")


@router.get("")
def search_utterances(
    *,
    caller: Reading,
    database: DatabaseDep,
    q: Annotated[_Words | None, Query(description="Any part of an utterance, in simplified characters")] = None,
    label: Label | None = None,
    min_score: Annotated[_Share, Query(description="Of `label`; without one, of any kind of abuse")] = None,
    max_score: _Share = None,
    speaker: Speaker | None = None,
    collector_id: _Name = None,
    agency: _Name = None,
    called_from: Moment | None = None,
    called_before: Moment | None = None,
    needs_review: bool | None = None,
    suppressed: bool | None = None,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> UtterancePage:
    """Searches redacted text only, whatever the key may see: a search must not tell what is masked."""
    sought = Sought(
        tenant_id=caller.tenant_id,
        text=q,
        label=label,
        min_score=min_score,
        max_score=max_score,
        speaker=speaker,
        collector_id=collector_id,
        agency=agency,
        called_from=called_from,
        called_before=called_before,
        needs_review=needs_review,
        suppressed=suppressed,
    )
    found = search.find(database, sought, before, limit + 1)
    shown = found[:limit]
    return UtterancePage(
        utterances=[FoundUtterance.of(one) for one in shown],
        next_before=shown[-1].id if len(found) > limit else None,
    )
