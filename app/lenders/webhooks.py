"""/v1/webhooks: where a tenant is told of events, made and looked after by its administrators."""

from datetime import datetime, timedelta
from typing import Annotated, Self

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app import audit, webhooks
from app.access import Administering, Caller
from app.audit import Action
from app.database import hold
from app.deps import DatabaseDep, SettingsDep
from app.errors import refusal
from app.keys import Role
from app.none_twice import NONE_TWICE
from app.routes import tenant_router
from app.webhooks import EventType, Message, NewWebhook, State, Webhook
from app.webhooks_connection import Refused, check_url
from app.webhooks_outbox import DoneEvent, FailedEvent, FlaggedEvent, ReviewedEvent

router = tenant_router("/v1/webhooks", "webhooks")

# What a lender's own server is sent; it stands in the OpenAPI document, and is no route of this service.
told = APIRouter(tags=["webhooks"])


class WantedWebhook(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"url": "https://lender.example/callaudit", "events": ["call.flagged", "call.failed"]}]
        },
    )

    url: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = Field(
        description="https://…; http only into networks that the service was set up with",
        json_schema_extra={"pattern": r"^https://[a-z0-9]+(\.[a-z0-9]+)*(:[1-9][0-9]{0,3})?(/[A-Za-z0-9._~/-]*)?$"},
    )
    events: Annotated[frozenset[EventType], NONE_TWICE] = Field(
        default=frozenset(EventType), min_length=1, description="All, if left out"
    )
    description: Annotated[str, StringConstraints(max_length=200)] = ""
    redacted: bool = Field(
        default=True,
        strict=True,
        description="false: texts as they were said; needs the role `unredacted`, and is logged",
    )


class Rotation(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"old_signs_for_hours": 24}]}
    )

    old_signs_for_hours: float = Field(
        default=24,
        ge=0,
        le=168,
        strict=True,
        description="How long the secret before signs too; 0 if it got into wrong hands",
    )


class Replay(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [{"ids": None}]})

    ids: list[Annotated[str, StringConstraints(max_length=36)]] | None = Field(
        default=None, min_length=1, max_length=1000, description="Of messages that were given up; null: all of them"
    )


class ShownWebhook(BaseModel):
    id: str
    url: str
    events: list[EventType]
    description: str
    redacted: bool
    created_at: datetime
    previous_secret_signs_until: datetime | None
    disabled_at: datetime | None = Field(
        description="Since its receiver answered 410 Gone nothing is told to it; null: it is on"
    )
    pending: int = Field(description="Messages that are still to be delivered")
    dead: int = Field(description="Messages that were given up, and can be replayed")

    @classmethod
    def of(cls, webhook: Webhook, pending: int = 0, dead: int = 0) -> Self:
        return cls(
            id=webhook.id,
            url=webhook.url,
            events=sorted(webhook.events),
            description=webhook.description,
            redacted=webhook.redacted,
            created_at=webhook.created_at,
            previous_secret_signs_until=webhook.previous_until,
            disabled_at=webhook.disabled_at,
            pending=pending,
            dead=dead,
        )


class MadeWebhook(BaseModel):
    webhook: ShownWebhook
    secret: str = Field(description="whsec_…, what to verify signatures with; it is shown this once")


class NewSecret(BaseModel):
    secret: str = Field(description="whsec_…; it is shown this once")


class WebhookList(BaseModel):
    webhooks: list[ShownWebhook]


class ShownMessage(BaseModel):
    id: str = Field(description="As in the header webhook-id")
    event: EventType
    call_id: str
    state: State
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    settled_at: datetime | None
    last_problem: str | None = Field(description="Why the last attempt failed")

    @classmethod
    def of(cls, message: Message) -> Self:
        values = {name: getattr(message, name) for name in cls.model_fields if name != "next_attempt_at"}
        return cls(**values, next_attempt_at=message.due_at if message.state is State.PENDING else None)


class MessagePage(BaseModel):
    messages: list[ShownMessage] = Field(description="Newest first")
    next_before: int | None = Field(description="Send it as `before` for the next page; null on the last")


class Replayed(BaseModel):
    replayed: int


@router.post("", status_code=201)
def make_webhook(
    caller: Administering, wanted: WantedWebhook, database: DatabaseDep, settings: SettingsDep, response: Response
) -> MadeWebhook:
    """Every event of the tenant's calls from now on goes there, signed as of Standard Webhooks."""
    if not wanted.redacted and not caller.may(Role.UNREDACTED):
        raise refusal(403, "role missing", f"texts as they were said need a key with the role '{Role.UNREDACTED}'")
    try:
        check_url(wanted.url, settings.webhook_private_networks)
    except Refused as error:
        raise refusal(422, "webhook address refused", str(error)) from None
    events = tuple(sorted(wanted.events))
    new = NewWebhook(caller.tenant_id, wanted.url, events, wanted.description, wanted.redacted)
    with database.begin() as connection:
        hold(connection, f"webhooks/{caller.tenant_id}")
        if webhooks.count(connection, caller.tenant_id) >= webhooks.MOST_A_TENANT:
            raise refusal(
                409, "too many webhooks", f"a tenant has at most {webhooks.MOST_A_TENANT} webhooks; delete one first"
            )
        webhook, secret = webhooks.create(connection, new, settings.keyring)
        facts: dict[str, str | int] = {"events": ",".join(events), "redacted": int(wanted.redacted)}
        audit.record(connection, caller.tenant_id, caller.name, Action.WEBHOOK_MADE, webhook.id, **facts)
    response.headers["cache-control"] = "no-store"
    return MadeWebhook(webhook=ShownWebhook.of(webhook), secret=secret)


@router.get("")
def list_webhooks(caller: Administering, database: DatabaseDep) -> WebhookList:
    found = webhooks.listed(database, caller.tenant_id)
    counted = webhooks.counts(database, [webhook.id for webhook in found])
    shown = [
        ShownWebhook.of(webhook, counted.get((webhook.id, State.PENDING), 0), counted.get((webhook.id, State.DEAD), 0))
        for webhook in found
    ]
    return WebhookList(webhooks=shown)


@router.delete("/{webhook_id}", status_code=204)
def delete_webhook(caller: Administering, webhook_id: str, database: DatabaseDep) -> None:
    """What it was still to be told is not told any more."""
    with database.begin() as connection:
        if not webhooks.remove(connection, caller.tenant_id, webhook_id):
            raise _unknown()
        audit.record(connection, caller.tenant_id, caller.name, Action.WEBHOOK_REMOVED, webhook_id)


@router.post("/{webhook_id}/rotate")
def rotate_secret(
    *,
    caller: Administering,
    webhook_id: str,
    wanted: Rotation | None = None,
    database: DatabaseDep,
    settings: SettingsDep,
    response: Response,
) -> NewSecret:
    """Gives a new secret. For a while messages are signed with both, so that receivers can change over in peace."""
    hours = (wanted or Rotation()).old_signs_for_hours
    with database.begin() as connection:
        secret = webhooks.rotate(connection, caller.tenant_id, webhook_id, settings.keyring, timedelta(hours=hours))
        if secret is None:
            raise _unknown()
        audit.record(connection, caller.tenant_id, caller.name, Action.WEBHOOK_ROTATED, webhook_id)
    response.headers["cache-control"] = "no-store"
    return NewSecret(secret=secret)


@router.post("/{webhook_id}/enable")
def enable_webhook(caller: Administering, webhook_id: str, database: DatabaseDep) -> ShownWebhook:
    """Switches on again what a 410 Gone switched off. It is told what happens from now on; replay tells the rest."""
    with database.begin() as connection:
        _known(connection, caller, webhook_id)
        if webhooks.enable(connection, caller.tenant_id, webhook_id):
            audit.record(connection, caller.tenant_id, caller.name, Action.WEBHOOK_ENABLED, webhook_id)
        webhook = _known(connection, caller, webhook_id)
    counted = webhooks.counts(database, [webhook_id])
    return ShownWebhook.of(webhook, *(counted.get((webhook_id, state), 0) for state in (State.PENDING, State.DEAD)))


@router.get("/{webhook_id}/messages")
def list_messages(
    *,
    caller: Administering,
    webhook_id: str,
    database: DatabaseDep,
    state: State | None = None,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> MessagePage:
    """What was told, is to be told, or was given up; of the last 30 days."""
    with database.connect() as connection:
        _known(connection, caller, webhook_id)
    found = webhooks.messages(database, webhook_id, state, before, limit + 1)
    following = found[limit - 1].number if len(found) > limit else None
    return MessagePage(messages=[ShownMessage.of(message) for message in found[:limit]], next_before=following)


@router.post("/{webhook_id}/replay")
def replay_dead(
    caller: Administering, webhook_id: str, database: DatabaseDep, wanted: Replay | None = None
) -> Replayed:
    """Delivers what was given up, for another 24 hours, under the same ids."""
    with database.begin() as connection:
        hold(connection, f"webhooks/{caller.tenant_id}")
        if _known(connection, caller, webhook_id).disabled_at is not None:
            raise refusal(409, "webhook disabled", "its receiver answered 410 Gone; enable the webhook first")
        number = webhooks.replay(connection, webhook_id, wanted.ids if wanted else None)
        if number:
            facts = {"messages": number}
            audit.record(connection, caller.tenant_id, caller.name, Action.WEBHOOK_REPLAYED, webhook_id, **facts)
    return Replayed(replayed=number)


@told.post("call.done")
def call_done(body: DoneEvent) -> None:
    """A call was scored. Answer with any 2xx."""


@told.post("call.flagged")
def call_flagged(body: FlaggedEvent) -> None:
    """Abuse was found in a call, or a review changed its verdict from none to some."""


@told.post("call.failed")
def call_failed(body: FailedEvent) -> None:
    """A call cannot be scored; the error says why."""


@told.post("review.created")
def review_created(body: ReviewedEvent) -> None:
    """A person reviewed, disputed or decided about an utterance."""


def _known(connection: sa.Connection, caller: Caller, webhook_id: str) -> Webhook:
    webhook = webhooks.find(connection, caller.tenant_id, webhook_id)
    if webhook is None:
        raise _unknown()
    return webhook


def _unknown() -> Exception:
    return refusal(404, "unknown webhook", "there is no webhook with this id; GET /v1/webhooks lists them")
