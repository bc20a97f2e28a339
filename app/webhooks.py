"""Where a tenant is told of events: made, listed, removed, given a new secret, and told again what was given up."""

import base64
import io
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import uuid4

import sqlalchemy as sa

from app.encryption import Keyring
from app.tables import webhook_messages, webhooks

GIVE_UP_AFTER = timedelta(hours=24)
MOST_A_TENANT = 20

_SECRET_BYTES = 32
_SEALED = "sealed:"


class EventType(StrEnum):
    CALL_DONE = "call.done"
    CALL_FLAGGED = "call.flagged"
    CALL_FAILED = "call.failed"
    REVIEW_CREATED = "review.created"


class State(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"  # given up, after a day or because the receiver is gone; can be replayed


@dataclass(frozen=True, slots=True)
class Webhook:
    id: str
    tenant_id: str
    url: str
    events: tuple[EventType, ...]
    description: str
    redacted: bool
    created_at: datetime
    previous_until: datetime | None  # until then the secret before this one signs too
    disabled_at: datetime | None  # since its receiver said that it is gone, nothing is told


@dataclass(frozen=True, slots=True)
class NewWebhook:
    tenant_id: str
    url: str
    events: tuple[EventType, ...]
    description: str = ""
    redacted: bool = True


@dataclass(frozen=True, slots=True)
class Message:
    number: int  # counts up in the order of events
    id: str  # the event's, the same for every webhook and every attempt
    event: EventType
    call_id: str
    state: State
    attempts: int
    created_at: datetime
    due_at: datetime
    settled_at: datetime | None
    last_problem: str | None


def create(connection: sa.Connection, new: NewWebhook, keyring: Keyring) -> tuple[Webhook, str]:
    """The webhook and its secret, as `whsec_…`; the secret cannot be had again."""
    secret = _new_secret()
    webhook = Webhook(
        id=f"we_{uuid4().hex[:24]}",
        tenant_id=new.tenant_id,
        url=new.url,
        events=new.events,
        description=new.description,
        redacted=new.redacted,
        created_at=datetime.now(UTC),
        previous_until=None,
        disabled_at=None,
    )
    values = {name: getattr(webhook, name) for name in Webhook.__slots__}
    values |= {"events": ",".join(new.events), "secret": _seal(secret, keyring)}
    connection.execute(sa.insert(webhooks).values(values))
    return webhook, secret


def count(connection: sa.Connection, tenant_id: str) -> int:
    query = sa.select(sa.func.count()).select_from(webhooks).where(webhooks.c.tenant_id == tenant_id)
    return connection.execute(query).scalar_one()


def listed(engine: sa.Engine, tenant_id: str) -> list[Webhook]:
    """Oldest first."""
    query = sa.select(*_SHOWN).where(webhooks.c.tenant_id == tenant_id)
    with engine.connect() as connection:
        return [_webhook(row) for row in connection.execute(query.order_by(webhooks.c.created_at, webhooks.c.id))]


def find(connection: sa.Connection, tenant_id: str, webhook_id: str) -> Webhook | None:
    row = connection.execute(sa.select(*_SHOWN).where(*_mine(tenant_id, webhook_id))).one_or_none()
    return _webhook(row) if row else None


def counts(engine: sa.Engine, webhook_ids: list[str]) -> dict[tuple[str, State], int]:
    """Messages by webhook and state; what is not there is none."""
    m = webhook_messages.c
    query = sa.select(m.webhook_id, m.state, sa.func.count()).where(m.webhook_id.in_(webhook_ids))
    with engine.connect() as connection:
        rows = connection.execute(query.group_by(m.webhook_id, m.state)).all()
    return {(webhook_id, State(state)): number for webhook_id, state, number in rows}


def remove(connection: sa.Connection, tenant_id: str, webhook_id: str) -> bool:
    """With all that it was still to be told. False if there is no such webhook."""
    return bool(connection.execute(sa.delete(webhooks).where(*_mine(tenant_id, webhook_id))).rowcount)


def rotate(
    connection: sa.Connection, tenant_id: str, webhook_id: str, keyring: Keyring, old_signs_for: timedelta
) -> str | None:
    """The new secret; None if there is no such webhook. The one before signs too for so long, older ones no more."""
    secret = _new_secret()
    values = {
        "secret": _seal(secret, keyring),
        "previous_secret": webhooks.c.secret if old_signs_for else sa.null(),
        "previous_until": datetime.now(UTC) + old_signs_for if old_signs_for else sa.null(),
    }
    changed = connection.execute(sa.update(webhooks).where(*_mine(tenant_id, webhook_id)).values(values)).rowcount
    return secret if changed else None


def disable(connection: sa.Connection, webhook_id: str, because: str) -> bool:
    """Gives up all that was still to be told. False if it was off already, or is no more."""
    now, m = datetime.now(UTC), webhook_messages.c
    on = (webhooks.c.id == webhook_id, webhooks.c.disabled_at.is_(None))
    changed = connection.execute(sa.update(webhooks).where(*on).values(disabled_at=now)).rowcount
    waiting = (m.webhook_id == webhook_id, m.state == State.PENDING)
    given_up = {"state": State.DEAD, "settled_at": now, "last_problem": because}
    connection.execute(sa.update(webhook_messages).where(*waiting).values(given_up))
    return bool(changed)


def enable(connection: sa.Connection, tenant_id: str, webhook_id: str) -> bool:
    """False if it was on already, or there is no such webhook."""
    off = (*_mine(tenant_id, webhook_id), webhooks.c.disabled_at.is_not(None))
    return bool(connection.execute(sa.update(webhooks).where(*off).values(disabled_at=None)).rowcount)


def replay(connection: sa.Connection, webhook_id: str, message_ids: list[str] | None) -> int:
    """Has those that were given up, or all of them, delivered as if they were new; how many."""
    m, now = webhook_messages.c, datetime.now(UTC)
    chosen = [m.webhook_id == webhook_id, m.state == State.DEAD]
    if message_ids is not None:
        chosen.append(m.id.in_(message_ids))
    values = {"state": State.PENDING, "attempts": 0, "due_at": now, "give_up_at": now + GIVE_UP_AFTER}
    changed = connection.execute(sa.update(webhook_messages).where(*chosen).values(**values, settled_at=sa.null()))
    return changed.rowcount


def messages(engine: sa.Engine, webhook_id: str, state: State | None, before: int | None, size: int) -> list[Message]:
    """Newest first; `before` is the number of the last one of the page before this."""
    m = webhook_messages.c
    query = sa.select(*_MESSAGE).where(m.webhook_id == webhook_id).order_by(m.number.desc()).limit(size)
    if state is not None:
        query = query.where(m.state == state)
    if before is not None:
        query = query.where(m.number < before)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [Message(**{**row._asdict(), "event": EventType(row.event), "state": State(row.state)}) for row in rows]


def unsealed(secret: str, keyring: Keyring) -> str:
    """As `whsec_…`. Raises Refused if the key that it was sealed with is not there."""
    if not secret.startswith(_SEALED):
        return secret
    locked = io.BytesIO(base64.b64decode(secret.removeprefix(_SEALED)))
    return b"".join(keyring.open(locked, 0, sys.maxsize)).decode("ascii")


_SHOWN = tuple(webhooks.c[name] for name in Webhook.__slots__)
_MESSAGE = tuple(webhook_messages.c[name] for name in Message.__slots__)


def _mine(tenant_id: str, webhook_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return webhooks.c.id == webhook_id, webhooks.c.tenant_id == tenant_id


def _webhook(row: sa.Row[*tuple[object, ...]]) -> Webhook:
    values = row._asdict()
    return Webhook(**{**values, "events": tuple(EventType(event) for event in values["events"].split(","))})


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


def _seal(secret: str, keyring: Keyring) -> str:
    """It must be had back to sign with, so it cannot be hashed as keys are."""
    if not keyring.locks:
        return secret
    locked = io.BytesIO()
    keyring.lock(io.BytesIO(secret.encode("ascii")), locked)
    return _SEALED + base64.b64encode(locked.getvalue()).decode()
