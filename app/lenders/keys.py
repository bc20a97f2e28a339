"""/v1/keys: a tenant's API keys, made and revoked by its administrators."""

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from app import audit, keys
from app.access import Administering
from app.audit import Action
from app.deps import DatabaseDep
from app.errors import refusal
from app.keys import Key, NewKey, Role
from app.moments import Moment
from app.none_twice import NONE_TWICE
from app.routes import tenant_router

router = tenant_router("/v1/keys", "keys")


class WantedKey(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"name": "dialler", "roles": ["ingest"], "calls_per_day": 20000}]},
    )

    name: Annotated[str, StringConstraints(max_length=200)] = Field(default="", description="What it is for")
    roles: Annotated[frozenset[Role], NONE_TWICE] = Field(min_length=1)
    expires_at: Moment | None = Field(default=None, description="In the future; null: never")
    requests_per_minute: int | None = Field(default=None, ge=1, le=1_000_000, description="null: the service's own")
    calls_per_day: int | None = Field(default=None, ge=1, le=100_000_000, description="null: no quota")

    @field_validator("expires_at")
    @classmethod
    def _later(cls, value: datetime | None) -> datetime | None:
        if value is not None and value <= datetime.now(UTC):
            raise ValueError("must be in the future")
        return value


class ShownKey(BaseModel):
    prefix: str = Field(description="Recognises the key in lists and logs")
    name: str
    roles: list[Role]
    requests_per_minute: int | None
    calls_per_day: int | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute")
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: Key) -> Self:
        values = {name: getattr(key, name) for name in cls.model_fields if name not in ("roles", "token")}
        return cls(**values, roles=sorted(key.roles))


class MadeKey(BaseModel):
    key: ShownKey
    token: str = Field(description="What to send as Authorization: Bearer; it is shown this once")


class KeyList(BaseModel):
    keys: list[ShownKey]


@router.post("", status_code=201)
def make_key(caller: Administering, wanted: WantedKey, database: DatabaseDep, response: Response) -> MadeKey:
    """Makes a key of the caller's own tenant."""
    new = NewKey(
        tenant_id=caller.tenant_id,
        roles=wanted.roles,
        name=wanted.name,
        expires_at=wanted.expires_at,
        requests_per_minute=wanted.requests_per_minute,
        calls_per_day=wanted.calls_per_day,
    )
    with database.begin() as connection:
        key, token = keys.create(connection, new)
        roles = ",".join(sorted(key.roles))
        audit.record(connection, caller.tenant_id, caller.name, Action.KEY_MADE, key.prefix, roles=roles)
    response.headers["cache-control"] = "no-store"
    return MadeKey(key=ShownKey.of(key), token=token)


@router.get("")
def list_keys(caller: Administering, database: DatabaseDep) -> KeyList:
    return KeyList(keys=[ShownKey.of(key) for key in keys.listed(database, caller.tenant_id)])


@router.delete("/{prefix}")
def revoke_key(caller: Administering, prefix: str, database: DatabaseDep) -> ShownKey:
    """From now on nobody gets in with it; it stays in the list."""
    with database.begin() as connection:
        key = keys.revoke(connection, prefix, caller.tenant_id)
        if key is not None:
            audit.record(connection, caller.tenant_id, caller.name, Action.KEY_REVOKED, prefix)
    if key is None:
        raise refusal(404, "unknown key", "there is no key with this prefix; GET /v1/keys lists them")
    return ShownKey.of(key)
