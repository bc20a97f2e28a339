"""/v1/audit: who did what to which call, for a tenant's administrators."""

import json
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, Field

from app import audit
from app.access import Administering
from app.deps import DatabaseDep
from app.routes import tenant_router

router = tenant_router("/v1/audit", "audit")


class AuditEntry(BaseModel):
    position: int = Field(description="Counts from 1, without gaps")
    at: AwareDatetime
    actor: str = Field(description="key:PREFIX, local (before any key), operator (the command line) or webhook:ID")
    action: str
    subject: str = Field(description="A call's id or a key's prefix")
    facts: dict[str, Any]
    hash: str = Field(description="SHA-256 over this entry and the hash of the one before")

    @classmethod
    def of(cls, entry: audit.Entry) -> Self:
        return cls(
            position=entry.position,
            at=datetime.fromisoformat(entry.at),
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            facts=json.loads(entry.facts),
            hash=entry.hash,
        )


class AuditPage(BaseModel):
    entries: list[AuditEntry] = Field(description="Newest first")
    next_before: int | None = Field(description="Send it as `before` for the next page; null on the last")


@router.get("")
def list_audit(
    *,
    caller: Administering,
    database: DatabaseDep,
    subject: Annotated[str | None, Query(max_length=100)] = None,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    found = audit.entries(database, caller.tenant_id, before, limit + 1, subject)
    shown = found[:limit]
    return AuditPage(
        entries=[AuditEntry.of(entry) for entry in shown],
        next_before=shown[-1].position if len(found) > limit else None,
    )
