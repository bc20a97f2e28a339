"""Done calls of a tenant -> what the rules of conduct look at, and what they find in them."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.calls import Status
from app.tables import calls, utterances
from models.call import Speaker
from pipelines.conduct import Call, Finding, Rules, findings, unjudged


@dataclass(frozen=True, slots=True)
class Judged:
    """`unjudged`: how many calls lack what, by what they lack."""

    calls: tuple[Call, ...]
    findings: tuple[Finding, ...]
    unjudged: dict[str, int]


def judge_own(
    engine: sa.Engine, tenant_id: str, rules: Rules, called_from: datetime, called_before: datetime
) -> Judged:
    """Of the calls of this time alone: what came before or after it proves nothing here."""
    by_borrower: dict[str | None, list[Call]] = defaultdict(list)
    for call in _calls(engine, tenant_id, called_from, called_before):
        by_borrower[call.borrower_ref].append(call)
    found = [finding for of_one in by_borrower.values() for finding in findings(of_one, rules)]
    judged = tuple(call for of_one in by_borrower.values() for call in of_one)
    lacking = {name: count for name, count in unjudged(judged).items() if count}
    return Judged(judged, tuple(found), lacking)


def _calls(engine: sa.Engine, tenant_id: str, called_from: datetime, called_before: datetime) -> Iterable[Call]:
    u, c = utterances.c, calls.c
    of_then = (c.tenant_id == tenant_id, c.called_at >= called_from, c.called_at < called_before)
    spoken = (
        sa.select(u.call_id, u.speaker, sa.func.sum(u.stop - u.start))
        .where(u.tenant_id == tenant_id, u.called_at >= called_from, u.called_at < called_before, ~u.suppressed)
        .group_by(u.call_id, u.speaker)
    )
    rows = sa.select(c.id, c.details, c.seconds, c.called_at).where(*of_then, c.status == str(Status.DONE))
    with engine.connect() as connection:
        speech: Counter[tuple[str, str]] = Counter()
        for call_id, speaker, seconds in connection.execute(spoken):
            speech[call_id, speaker] = seconds
        found = connection.execute(rows).all()
    for row in found:
        told: dict[str, Any] = json.loads(row.details)
        yield Call(
            call_id=row.id,
            called_at=row.called_at if "called_at" in told else None,  # else the time is that of receipt
            borrower_ref=told.get("borrower_ref"),
            collector_id=told.get("collector_id"),
            agency=told.get("agency"),
            direction=told.get("direction"),
            contact=told.get("contact"),
            contact_refused=bool(told.get("contact_refused")),
            agreed_hours=bool(told.get("agreed_hours")),
            duration_s=row.seconds or 0.0,
            borrower_speech_s=speech[row.id, Speaker.BORROWER],
            unknown_speech_s=speech[row.id, Speaker.UNKNOWN],
        )
