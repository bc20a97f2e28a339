"""The log of who did what to a call -> the custody log of its evidence bundle."""

import json
from datetime import datetime

import sqlalchemy as sa

from app import audit
from pipelines.evidence.exhibit import CustodyEvent

_AT_ONCE = 500


def custody(engine: sa.Engine, tenant_id: str, call_id: str) -> tuple[CustodyEvent, ...]:
    """Oldest first, each with its place in the log and its hash, so that the log's holder can be asked to show it."""
    found: list[audit.Entry] = []
    before: int | None = None
    while page := audit.entries(engine, tenant_id, before, _AT_ONCE, call_id):
        found += page
        before = page[-1].position
    return tuple(_event(entry) for entry in reversed(found))


def _event(entry: audit.Entry) -> CustodyEvent:
    return CustodyEvent(
        at=datetime.fromisoformat(entry.at),
        actor=entry.actor,
        action=entry.action,
        facts=json.loads(entry.facts),
        log_position=entry.position,
        log_hash=entry.hash,
    )
