"""What lenders send and get."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from app.calls import Call, Outcome, Status
from app.errors import Problem
from app.moments import Moment
from app.plain_json import refuse_unclear
from models.call import KINDS, Form, Judgement, Label
from pipelines.call_times import refuse_ahead
from pipelines.report import Report, Scores

M = TypeVar("M", bound=BaseModel)

_Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Truth = Annotated[bool, Strict()]  # not 0 and not "off"
_STORED = "stored"
_IN_AN_ADDRESS = {"0": 0, "1": 1, "true": True, "false": False}


def _no_truth(sent: Any) -> Any:
    if isinstance(sent, bool):  # to Python, it is 0 or 1
        raise ValueError("must be 0 or 1")
    return sent


_Channel = Annotated[Literal[0, 1], BeforeValidator(_no_truth)]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000, pattern=r"\S")]


class Metadata(BaseModel):
    """What the sender knows of a call. Names of people do not belong here; references do."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "call_id": "crm-20260301-0001",
                    "collector_id": "c-17",
                    "agency": "north",
                    "called_at": "2026-03-01T20:15:00+08:00",
                    "direction": "outbound",
                    "collector_channel": 0,
                }
            ]
        },
    )

    call_id: _Name | None = Field(default=None, description="The sender's own reference")
    collector_id: _Name | None = None
    agency: _Name | None = None
    borrower_ref: _Name | None = None
    called_at: Moment | None = Field(
        default=None, description="With its offset, as 2026-03-01T20:15:00+08:00; at most a day ahead"
    )
    direction: Literal["inbound", "outbound"] | None = None
    collector_channel: _Channel | None = Field(default=None, description="Which channel the collector speaks on")
    contact: Literal["borrower", "third_party"] | None = Field(default=None, description="Who was called")
    contact_refused: _Truth | None = Field(default=None, description="A third party asked not to be called again")
    agreed_hours: _Truth | None = Field(default=None, description="The borrower agreed to this hour")

    @field_validator("called_at")
    @classmethod
    def _not_ahead(cls, sent: datetime | None, info: ValidationInfo) -> datetime | None:
        # What is stored is shown as it is, from whenever it came.
        return sent if sent is None or (info.context or {}).get(_STORED) else refuse_ahead(sent)


class WrittenMetadata(Metadata):
    """In an address, where all is text."""

    @field_validator("collector_channel", "contact_refused", "agreed_hours", mode="before")
    @classmethod
    def _read(cls, sent: Any) -> Any:
        return _IN_AN_ADDRESS.get(sent, sent) if isinstance(sent, str) else sent


def parsed(model: type[M], sent: bytes, *within: str) -> M:
    """Raises RequestValidationError, without what was sent, or Refused."""
    refuse_unclear(sent)
    try:
        return model.model_validate_json(sent)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
        raise RequestValidationError([{**fault, "loc": (*within, *fault["loc"])} for fault in faults]) from None


class CallSummary(BaseModel):
    id: str
    status: Status
    progress: float = Field(ge=0, le=1)
    received_at: datetime
    finished_at: datetime | None
    metadata: Metadata
    labels: tuple[Label, ...] = Field(
        description="Once done: what was found in speech that is not the borrower's; compliant if nothing was"
    )

    @classmethod
    def of(cls, call: Call) -> Self:
        return cls(
            id=call.id,
            status=call.status,
            progress=round(call.progress, 3),
            received_at=call.received_at,
            finished_at=call.finished_at,
            metadata=Metadata.model_validate_json(call.details, context={_STORED: True}),
            labels=call.labels,
        )


class CallResult(CallSummary):
    report: Report | None = Field(description="Once done")
    error: Problem | None = Field(description="Once failed")

    @classmethod
    def with_outcome(cls, call: Call, outcome: Outcome) -> Self:
        return cls(
            **dict(CallSummary.of(call)),
            report=Report.model_validate_json(outcome.report) if outcome.report else None,
            error=Problem.model_validate_json(outcome.problem) if outcome.problem else None,
        )


class Accepted(BaseModel):
    id: str
    status: Status


class ObjectCall(BaseModel):
    """A recording that lies in the sender's own bucket."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"object": "s3://north-bank-calls/2026/03/01/0001.wav", "metadata": {"collector_id": "c-17"}}]
        },
    )

    object: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = Field(
        description="Its address, under a prefix that the service was set up with"
    )
    metadata: Metadata = Metadata()


class CallBatch(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "calls": [
                        {"object": "s3://north-bank-calls/2026/03/01/0001.wav", "metadata": {"collector_id": "c-17"}},
                        {"object": "s3://north-bank-calls/2026/03/01/0002.wav"},
                    ]
                }
            ]
        },
    )

    calls: list[ObjectCall] = Field(min_length=1, max_length=1000)


class BatchedCall(BaseModel):
    object: str
    status: int = Field(description="As a request with this call alone would be answered: 202 if it is accepted")
    id: str | None = Field(description="Of the call, if it is accepted")
    error: Problem | None = Field(description="Why it is not")


class BatchAnswer(BaseModel):
    results: list[BatchedCall] = Field(description="One for each call, in their order")


class CallPage(BaseModel):
    calls: list[CallSummary] = Field(description="Newest first")
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null on the last")


class Texts(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"texts": ["您好，请问是张先生吗？", "再不还钱我就打断你的腿！"]},
                {"texts": ["那我就去找她。"], "previous": [["你妈妈住哪里我知道。"]]},
            ]
        },
    )

    texts: list[_Text] = Field(min_length=1, max_length=1000, description="Utterances to label")
    previous: list[list[_Text]] | None = Field(
        default=None, description="For each text, the utterances before it in the call, oldest first"
    )

    @model_validator(mode="after")
    def _one_context_a_text(self) -> Self:
        if self.previous is not None and len(self.previous) != len(self.texts):
            raise ValueError("'previous' must have one list for each of 'texts'")
        return self


class LabelledText(BaseModel):
    text: str
    label: Label
    labels: tuple[Label, ...]
    scores: Scores
    forms: tuple[Form, ...]

    @classmethod
    def of(cls, text: str, judged: Judgement) -> Self:
        scores = Scores(**{kind.value: round(judged.scores[kind], 4) for kind in KINDS})
        return cls(text=text, label=judged.label, labels=judged.labels, scores=scores, forms=judged.forms)


class LabelledTexts(BaseModel):
    results: list[LabelledText]
