"""Who did what to which call -> a log that only grows, each entry bound to the one before it by its hash.

One chain a tenant. A chain tells of every entry that was changed, moved or taken out of it; that its end was cut off
shows only against a head that someone wrote down elsewhere, which is why heads are printed and can be expected.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from app.database import hold
from app.tables import audit_log

_BEGINNING = "0" * 64
_SAME_LOOK = timedelta(minutes=10)
_AT_ONCE = 1000


class Action(StrEnum):
    CALL_ACCEPTED = "call.accepted"
    CALL_DELETED = "call.deleted"
    CALL_HELD = "call.held"
    CALL_LET_GO = "call.let_go"
    RETENTION_SET = "retention.set"
    REVIEWED = "call.reviewed"
    CORRECTED = "call.corrected"
    REPORT_SEEN = "report.seen_unredacted"
    AUDIO_HEARD = "audio.heard_unredacted"
    KEY_MADE = "key.made"
    KEY_REVOKED = "key.revoked"
    WEBHOOK_MADE = "webhook.made"
    WEBHOOK_REMOVED = "webhook.removed"
    WEBHOOK_ROTATED = "webhook.rotated"
    WEBHOOK_REPLAYED = "webhook.replayed"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_ENABLED = "webhook.enabled"


@dataclass(frozen=True, slots=True)
class Entry:
    tenant_id: str
    position: int  # counts from 1 in each tenant's chain
    at: str  # ISO 8601 in UTC, as it was hashed
    actor: str
    action: str
    subject: str  # a call's id or a key's prefix; never what was said
    facts: str  # JSON
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain that holds from its beginning."""

    tenant_id: str
    position: int
    hash: str


@dataclass(frozen=True, slots=True)
class Broken:
    tenant_id: str
    position: int
    why: str


def record(
    connection: sa.Connection, tenant_id: str, actor: str, action: Action, subject: str, **facts: str | int
) -> None:
    """In the transaction of the deed itself: there is neither without the other. The last lock that it takes."""
    hold(connection, f"audit/{tenant_id}")
    last = connection.execute(
        sa.select(audit_log.c.position, audit_log.c.hash)
        .where(audit_log.c.tenant_id == tenant_id)
        .order_by(audit_log.c.position.desc())
        .limit(1)
    ).one_or_none()
    position, previous = (last.position + 1, last.hash) if last else (1, _BEGINNING)
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    told = json.dumps(facts, ensure_ascii=False, sort_keys=True)
    values = {"tenant_id": tenant_id, "position": position, "at": at, "actor": actor, "action": str(action)}
    values |= {"subject": subject, "facts": told}
    entry = Entry(**values, hash="")  # type: ignore[arg-type]
    connection.execute(sa.insert(audit_log).values(**values, hash=_hash(entry, previous)))


def record_look(engine: sa.Engine, tenant_id: str, actor: str, action: Action, call_id: str) -> None:
    """A player asks for one recording many times; that is one look."""
    since = (datetime.now(UTC) - _SAME_LOOK).isoformat(timespec="microseconds")
    same = sa.exists().where(
        audit_log.c.tenant_id == tenant_id,
        audit_log.c.subject == call_id,
        audit_log.c.action == str(action),
        audit_log.c.actor == actor,
        audit_log.c.at > since,
    )
    with engine.connect() as connection:
        if connection.execute(sa.select(same)).scalar():
            return
    with engine.begin() as connection:
        record(connection, tenant_id, actor, action, call_id)


def entries(engine: sa.Engine, tenant_id: str, before: int | None, size: int, subject: str | None) -> list[Entry]:
    """Newest first; `before` is the position of the last entry of the page before this."""
    query = sa.select(*_ENTRY).where(audit_log.c.tenant_id == tenant_id)
    query = query.order_by(audit_log.c.position.desc()).limit(size)
    if before is not None:
        query = query.where(audit_log.c.position < before)
    if subject is not None:
        query = query.where(audit_log.c.subject == subject)
    with engine.connect() as connection:
        return [Entry(*row) for row in connection.execute(query)]


def verify(engine: sa.Engine, tenant_id: str | None = None) -> Iterator[Head | Broken]:
    """Of every chain its head, or the first entry that breaks it."""
    query = sa.select(*_ENTRY).order_by(audit_log.c.tenant_id, audit_log.c.position)
    if tenant_id is not None:
        query = query.where(audit_log.c.tenant_id == tenant_id)
    head: Head | None = None
    broken: str | None = None
    with engine.connect() as connection:
        for row in connection.execution_options(yield_per=_AT_ONCE).execute(query):
            entry = Entry(*row)
            if head is None or entry.tenant_id != head.tenant_id:
                if head is not None and broken is None:
                    yield head
                head, broken = Head(entry.tenant_id, 0, _BEGINNING), None
            if broken is not None:
                continue
            if entry.position != head.position + 1:
                broken = f"entry {head.position + 1} is missing"
            elif entry.hash != _hash(entry, head.hash):
                broken = f"entry {entry.position} was changed, or follows one that was"
            if broken is not None:
                yield Broken(entry.tenant_id, head.position + 1, broken)
                continue
            head = Head(entry.tenant_id, entry.position, entry.hash)
    if head is not None and broken is None:
        yield head


def hash_at(engine: sa.Engine, tenant_id: str, position: int) -> str | None:
    mine = (audit_log.c.tenant_id == tenant_id, audit_log.c.position == position)
    with engine.connect() as connection:
        return connection.execute(sa.select(audit_log.c.hash).where(*mine)).scalar()


_ENTRY = tuple(audit_log.c[name] for name in Entry.__slots__)


def _hash(entry: Entry, previous: str) -> str:
    told = [previous, entry.tenant_id, entry.position, entry.at, entry.actor, entry.action, entry.subject, entry.facts]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()
