"""What happened to a call -> a message for every webhook that wants to know, in the transaction of what happened.

So there is no message of what was rolled back, and nothing happens without its message.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, Self
from uuid import uuid4

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from app.errors import Problem
from app.tables import calls, webhook_messages, webhooks
from app.webhooks import GIVE_UP_AFTER, EventType, State
from models.call import Label, Speaker
from pipelines.redaction import redact, redact_report
from pipelines.report import Report, Scores, UtterancePart, accused

# The rest is in the report; receivers limit what they take.
_MOST_FINDINGS = 20

Because = Literal["model", "review"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ToldCall(_Part):
    id: str
    status: str
    metadata: dict[str, Any] = Field(description="As it was sent with the call")
    received_at: datetime
    finished_at: datetime | None


class ToldFinding(_Part):
    utterance: int = Field(description="Its index in the report")
    channel: int
    speaker: Speaker
    start: float = Field(description="Seconds from the start of the recording")
    end: float
    text: str = Field(description="Redacted, unless the webhook was made to be told all")
    label: Label
    labels: tuple[Label, ...]
    scores: Scores
    needs_review: bool

    @classmethod
    def of(cls, utterance: UtterancePart) -> Self:
        names = [name for name in cls.model_fields if name != "utterance"]
        return cls(utterance=utterance.index, **{name: getattr(utterance, name) for name in names})


class Done(_Part):
    call: ToldCall
    seconds: float = Field(description="Of sound")
    utterances: int
    verdict: tuple[Label, ...] = Field(description="Kinds of abuse that hold; empty: none found")
    awaiting_review: int


class Flagged(_Part):
    call: ToldCall
    because: Because = Field(description="Of what the model found, or of what a review changed")
    verdict: tuple[Label, ...]
    findings: tuple[ToldFinding, ...] = Field(
        description="What the model found in speech that is not the borrower's, at most the first 20"
    )
    findings_total: int


class Failed(_Part):
    call: ToldCall
    error: Problem


class ToldReview(_Part):
    id: str
    utterance: int
    kind: str
    verdict: str | None
    labels: tuple[Label, ...]
    note: str
    reviewer: str
    created_at: datetime


class Reviewed(_Part):
    call: ToldCall
    review: ToldReview
    verdict: tuple[Label, ...] = Field(description="The call's, as it is now")


class DoneEvent(_Part):
    type: Literal[EventType.CALL_DONE] = EventType.CALL_DONE
    timestamp: datetime
    data: Done


class FlaggedEvent(_Part):
    type: Literal[EventType.CALL_FLAGGED] = EventType.CALL_FLAGGED
    timestamp: datetime
    data: Flagged


class FailedEvent(_Part):
    type: Literal[EventType.CALL_FAILED] = EventType.CALL_FAILED
    timestamp: datetime
    data: Failed


class ReviewedEvent(_Part):
    type: Literal[EventType.REVIEW_CREATED] = EventType.REVIEW_CREATED
    timestamp: datetime
    data: Reviewed


def tell_done(connection: sa.Connection, call_id: str, report: Report) -> None:
    def event(call: ToldCall, now: datetime, _redacted: bool) -> BaseModel:
        done = Done(
            call=call,
            seconds=report.recording.duration,
            utterances=len(report.utterances),
            verdict=report.summary.verdict,
            awaiting_review=report.summary.awaiting_review,
        )
        return DoneEvent(timestamp=now, data=done)

    _tell(connection, call_id, EventType.CALL_DONE, event)
    if report.summary.verdict:
        tell_flagged(connection, call_id, report, report.summary.verdict, "model")


def tell_flagged(
    connection: sa.Connection, call_id: str, report: Report, verdict: tuple[Label, ...], because: Because
) -> None:
    def event(call: ToldCall, now: datetime, redacted: bool) -> BaseModel:
        shown = redact_report(report) if redacted else report
        found = accused(shown.utterances)
        flagged = Flagged(
            call=call,
            because=because,
            verdict=verdict,
            findings=tuple(ToldFinding.of(u) for u in found[:_MOST_FINDINGS]),
            findings_total=len(found),
        )
        return FlaggedEvent(timestamp=now, data=flagged)

    _tell(connection, call_id, EventType.CALL_FLAGGED, event)


def tell_failed(connection: sa.Connection, call_id: str, problem: Problem) -> None:
    def event(call: ToldCall, now: datetime, _redacted: bool) -> BaseModel:
        return FailedEvent(timestamp=now, data=Failed(call=call, error=problem))

    _tell(connection, call_id, EventType.CALL_FAILED, event)


def tell_reviewed(connection: sa.Connection, call_id: str, review: ToldReview, verdict: tuple[Label, ...]) -> None:
    def event(call: ToldCall, now: datetime, redacted: bool) -> BaseModel:
        shown = review.model_copy(update={"note": redact(review.note)}) if redacted else review
        return ReviewedEvent(timestamp=now, data=Reviewed(call=call, review=shown, verdict=verdict))

    _tell(connection, call_id, EventType.REVIEW_CREATED, event)


def _tell(
    connection: sa.Connection, call_id: str, event: EventType, write: Callable[[ToldCall, datetime, bool], BaseModel]
) -> None:
    told = sa.select(calls.c.tenant_id).where(calls.c.id == call_id).scalar_subquery()
    # Locked, so that none of them is removed before its message is in place.
    on = (webhooks.c.tenant_id == told, webhooks.c.disabled_at.is_(None))
    query = sa.select(webhooks.c.id, webhooks.c.events, webhooks.c.redacted).where(*on)
    wanting = [
        (row.id, row.redacted)
        for row in connection.execute(query.with_for_update(read=True, key_share=True))
        if str(event) in row.events.split(",")
    ]
    if not wanting:
        return
    call, now = _call(connection, call_id), datetime.now(UTC)
    payloads = {redacted: write(call, now, redacted).model_dump_json() for redacted in {r for _, r in wanting}}
    common = {
        "id": f"msg_{uuid4().hex}"[:36],
        "call_id": call_id,
        "event": str(event),
        "state": str(State.PENDING),
        "attempts": 0,
        "created_at": now,
        "due_at": now,
        "give_up_at": now + GIVE_UP_AFTER,
    }
    rows = [{**common, "webhook_id": webhook_id, "payload": payloads[redacted]} for webhook_id, redacted in wanting]
    connection.execute(sa.insert(webhook_messages), rows)


def _call(connection: sa.Connection, call_id: str) -> ToldCall:
    columns = (calls.c.id, calls.c.status, calls.c.details, calls.c.received_at, calls.c.finished_at)
    values = connection.execute(sa.select(*columns).where(calls.c.id == call_id)).one()._asdict()
    return ToldCall(metadata=json.loads(values.pop("details")), **values)
