"""What a lender knows of a call besides its sound: from a table or a sidecar, checked."""

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from pipelines.call_times import refuse_ahead

_ZONE = "zone"


class Facts(BaseModel):
    """One call's metadata. Columns that are not named here are ignored; empty cells are unknown."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    call_id: str | None = Field(default=None, min_length=1, max_length=200)
    collector_id: str | None = Field(default=None, max_length=200)
    agency: str | None = Field(default=None, max_length=200)
    borrower_ref: str | None = Field(default=None, max_length=200)
    called_at: datetime | None = None
    direction: Literal["inbound", "outbound"] | None = None
    collector_channel: Literal[0, 1] | None = None
    contact: Literal["borrower", "third_party"] | None = None  # who was called
    contact_refused: bool | None = None  # a third party asked not to be called again
    agreed_hours: bool | None = None  # the borrower agreed to this hour

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unknown(cls, sent: Any) -> Any:
        return {k: v for k, v in sent.items() if not _is_empty(v)} if isinstance(sent, Mapping) else sent

    @field_validator("collector_channel", mode="before")
    @classmethod
    def _digit(cls, sent: Any) -> Any:
        return int(sent) if sent in ("0", "1", 0.0, 1.0) else sent

    @field_validator("called_at")
    @classmethod
    def _with_zone(cls, sent: datetime | None, info: ValidationInfo) -> datetime | None:
        if sent is None:
            return None
        if sent.tzinfo is not None:
            return refuse_ahead(sent)
        zone = (info.context or {}).get(_ZONE)
        if zone is None:
            raise ValueError("has no offset; write one, as 2026-03-01T20:15:00+08:00, or give --time-zone")
        return refuse_ahead(sent.replace(tzinfo=zone))


class BadFacts(Exception):
    """Metadata that cannot be believed; the message names the field."""


def read_facts(sent: object, zone: ZoneInfo | None) -> Facts:
    """`zone`: of times without offset. Raises BadFacts."""
    try:
        return Facts.model_validate(sent, context={_ZONE: zone})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(map(str, fault["loc"])) or "metadata"
        raise BadFacts(f"{field}: {fault['msg'].removeprefix('Value error, ')}") from None


def read_sidecar(content: bytes, zone: ZoneInfo | None) -> Facts:
    """Raises BadFacts."""
    try:
        sent = json.loads(content)
    except ValueError as error:
        raise BadFacts(f"the sidecar is not JSON ({error})") from None
    return read_facts(sent, zone)


def _is_empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
