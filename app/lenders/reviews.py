"""Reviews of utterances: given, listed, disputed, decided, measured and exported."""

import json
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal, Self

import sqlalchemy as sa
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app import calls, reviews
from app.access import Caller, Reading, Reviewing
from app.deps import DatabaseDep
from app.errors import refusal
from app.keys import Role
from app.reviews import Kind, NewReview, NothingToWithdraw, Review, Reviewed, Ruling
from app.routes import tenant_router
from models.call import KIND_OF_FORM, Label, Speaker
from pipelines.redaction import redact_report
from pipelines.report import Report, UtterancePart

_PREVIOUS_TURNS = 2  # as many as the classifier sees

router = tenant_router("/v1", "reviews")

Abuse = Literal[Label.THREAT, Label.INSULT, Label.THIRD_PARTY_CONTACT]


class GivenReview(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"verdict": "correct", "labels": ["insult"], "note": "an insult, but no threat"},
                {"kind": "dispute", "note": "the borrower says this, not our collector"},
            ]
        },
    )

    kind: Kind = Field(
        default=Kind.REVIEW,
        description="review, dispute, decision upon a dispute, note, or withdrawal of the last that the same key gave",
    )
    verdict: Ruling | None = Field(default=None, description="Of a review or a decision; the others have none")
    labels: tuple[Abuse, ...] = Field(
        default=(), max_length=3, description="With `correct`: what it is, most important first"
    )
    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)] = ""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.kind in (Kind.DISPUTE, Kind.NOTE, Kind.WITHDRAWAL):
            if self.verdict is not None or self.labels:
                raise ValueError(f"a {self.kind} has neither verdict nor labels; say in its note what is to be said")
            if not self.note and self.kind is not Kind.WITHDRAWAL:
                raise ValueError(f"a {self.kind} needs a note that says what is wrong")
        elif self.verdict is None:
            raise ValueError("send a verdict: confirm, correct or reject")
        elif (self.verdict is Ruling.CORRECT) != bool(self.labels):
            raise ValueError("'correct' needs labels, and only 'correct' has them; for compliant send 'reject'")
        elif len(set(self.labels)) != len(self.labels):
            raise ValueError("a label stands twice")
        return self


class ShownReview(BaseModel):
    id: str
    call_id: str
    utterance: int
    kind: Kind
    verdict: Ruling | None
    label: Label | None = Field(description="Primary label by this review; null where it has no verdict")
    labels: tuple[Label, ...]
    note: str = Field(description="Redacted when read, unless the key has the role `unredacted`")
    reviewer: str = Field(description="key:PREFIX of the key that it came with")
    created_at: datetime

    @classmethod
    def of(cls, review: Review) -> Self:
        primary = review.labels[0] if review.labels else Label.COMPLIANT
        return cls(
            id=review.id,
            call_id=review.call_id,
            utterance=review.utterance,
            kind=review.kind,
            verdict=review.verdict,
            label=primary if review.verdict is not None else None,
            labels=review.labels,
            note=review.note,
            reviewer=review.reviewer,
            created_at=review.created_at,
        )


class CallReviews(BaseModel):
    verdict: tuple[Label, ...] = Field(description="The call's, as it is after the reviews; empty: none found")
    disputed: list[int] = Field(description="Utterances whose dispute is not decided yet")
    reviews: list[ShownReview] = Field(description="Oldest first, with what was withdrawn")


class ReviewerAgreement(BaseModel):
    utterances: int = Field(description="Reviewed by two people on their own")
    agreed: int
    kappa: float | None = Field(description="Cohen's; null where it is not defined")


@router.post("/calls/{call_id}/utterances/{index}/reviews", status_code=201)
def review_utterance(
    caller: Reading, call_id: str, index: int, given: GivenReview, database: DatabaseDep
) -> ShownReview:
    """Reviews, decisions and notes need the role `review`; a dispute may come from whoever reads the call.

    Nothing of the report changes. The call's verdict follows the last review or decision of each utterance.
    """
    if given.kind not in (Kind.DISPUTE, Kind.WITHDRAWAL) and not caller.may(Role.REVIEW):
        raise refusal(403, "role missing", f"this needs a key with the role '{Role.REVIEW}'")
    report = _report(database, caller, call_id)
    if not 0 <= index < len(report.utterances):
        raise refusal(404, "unknown utterance", f"the call has {len(report.utterances)} utterances, counted from 0")
    standing = reviews.in_force(reviews.of_call(database, call_id))
    earlier = [review for review in standing if review.utterance == index and review.kind is not Kind.NOTE]
    if given.kind is Kind.DECISION and (not earlier or earlier[-1].kind is not Kind.DISPUTE):
        raise refusal(409, "nothing to decide", "this utterance is not disputed; send a review")
    if given.kind is Kind.DECISION and earlier[-1].reviewer == caller.name and caller.key is not None:
        raise refusal(403, "own dispute", "who disputes does not decide; another reviewer has to")
    utterance = report.utterances[index]
    labels = reviews.labels_by(given.verdict, utterance, given.labels) if given.verdict else ()
    new = NewReview(call_id, index, given.kind, given.verdict, labels, given.note)
    try:
        added = reviews.add(database, caller.tenant_id, caller.name, new, report)
    except NothingToWithdraw:
        raise refusal(409, "nothing to withdraw", "nothing of this key is in force for this utterance") from None
    return ShownReview.of(added)  # as it was sent


@router.get("/calls/{call_id}/reviews")
def read_reviews(caller: Reading, call_id: str, database: DatabaseDep) -> CallReviews:
    """Numbers and addresses in notes are masked, unless the key has the role `unredacted`."""
    _report(database, caller, call_id)
    found, redacted = reviews.of_call(database, call_id), not caller.may(Role.UNREDACTED)
    return CallReviews(
        verdict=reviews.current_verdict(database, call_id),
        disputed=sorted(reviews.disputed(found)),
        reviews=[ShownReview.of(review.masked() if redacted else review) for review in found],
    )


@router.get("/reviews/agreement")
def reviewer_agreement(caller: Reading, database: DatabaseDep) -> ReviewerAgreement:
    """How far reviewers agree beyond chance."""
    found = reviews.agreement(database, caller.tenant_id)
    rounded = None if found.kappa is None else round(found.kappa, 4)
    return ReviewerAgreement(utterances=found.utterances, agreed=found.agreed, kappa=rounded)


@router.get(
    "/reviews/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
)
def export_reviews(caller: Reviewing, database: DatabaseDep) -> StreamingResponse:
    """Every decided utterance as a corpus row, one JSON object a line, for `callaudit train classifier`.

    Redacted. Utterances of unknown speakers are left out, since the classifier also learns who speaks.
    """
    rows = (
        row
        for report, found in reviews.decided(database, caller.tenant_id)
        for row in _corpus_rows(redact_report(report), found)
    )
    return StreamingResponse(rows, media_type="application/x-ndjson", headers={"cache-control": "no-store"})


def _report(database: sa.Engine, caller: Caller, call_id: str) -> Report:
    if calls.find(database, caller.tenant_id, call_id) is None:
        raise refusal(404, "unknown call", f"there is no call {call_id}; it was never accepted, or it was deleted")
    stored = calls.outcome(database, call_id).report
    if stored is None:
        raise refusal(409, "not done yet", "the call has no report to review; read its status")
    return Report.model_validate_json(stored)


def _corpus_rows(report: Report, found: list[Reviewed]) -> Iterator[str]:
    for reviewed in found:
        utterance: UtterancePart = report.utterances[reviewed.utterance]
        if utterance.speaker is Speaker.UNKNOWN:
            continue
        before = report.utterances[max(0, reviewed.utterance - _PREVIOUS_TURNS) : reviewed.utterance]
        row = {
            "scenario": reviewed.call_id,
            "split": _split(reviewed.call_id),
            "speaker": utterance.speaker,
            "text": utterance.text,
            "previous": [u.text for u in before],
            "labels": reviewed.labels,
            "forms": [form for form in utterance.forms if KIND_OF_FORM[form] in reviewed.labels],
            "hard": reviewed.contested,
            "source": "review",
        }
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _split(call_id: str) -> str:
    """By call and for good: what was once tested with is never trained on."""
    share = zlib.crc32(call_id.encode()) % 10
    return "test" if share == 0 else "dev" if share == 1 else "train"
