"""What people add to a recording and its report before both become evidence; each says whose word it is."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from models.call import Speaker

_Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stated(_Part):
    """What whoever handed the recording in says of it. Nothing of it is checked."""

    file_name: _Line | None = None
    called_at: AwareDatetime | None = Field(default=None, description="With its offset, as 2026-03-01T20:15:00+08:00")
    lender: _Line | None = None
    caller_number: _Line | None = None
    call_id: _Line | None = None
    collector_id: _Line | None = None
    agency: _Line | None = None
    borrower_ref: _Line | None = None
    direction: Literal["inbound", "outbound"] | None = None
    collector_channel: Literal[0, 1] | None = Field(default=None, description="Which channel the collector speaks on")
    note: _Text | None = None


class Correction(_Part):
    """What a person says was said; it stands beside the machine's text, never in its place."""

    utterance: int = Field(description="The index in the report", ge=0)
    text: _Text | None = Field(default=None, description="Null: as the machine has it")
    speaker: Speaker | None = Field(default=None, description="Null: as the machine has it")
    by: _Line = Field(description="Who says so: borrower, reviewer, ...")
    at: AwareDatetime


class CustodyEvent(_Part):
    """One thing that happened to the recording, as the log of whoever holds it tells."""

    at: AwareDatetime
    actor: _Line
    action: _Line
    facts: dict[str, str | int] = Field(default_factory=dict)
    log_position: int | None = Field(default=None, description="In the holder's own log, if it has one", ge=1)
    log_hash: str | None = Field(default=None, description="Of that entry", pattern="^[0-9a-f]{64}$")
