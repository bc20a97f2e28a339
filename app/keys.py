"""Tenants and their API keys: made, found by what a caller presents, listed, revoked.

A key is `cak_PREFIX_SECRET`. The prefix recognises it in lists and logs; of the secret only the hash is stored. A
plain SHA-256 is enough, since the secret has 256 random bits and nobody can try them all.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from app.tables import api_keys, tenants


class Role(StrEnum):
    INGEST = "ingest"  # send calls
    READ = "read"  # read calls and reports, redacted
    REVIEW = "review"  # decide what an utterance is
    UNREDACTED = "unredacted"  # see and hear numbers and addresses; needs read besides
    ADMIN = "admin"  # keys, webhooks, retention, holds and deletion


TENANT = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"  # it names a folder, so neither dots nor slashes
_TOKEN = re.compile(r"cak_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Key:
    prefix: str
    tenant_id: str
    name: str
    roles: frozenset[Role]
    requests_per_minute: int | None
    calls_per_day: int | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewKey:
    tenant_id: str
    roles: frozenset[Role]
    name: str = ""
    expires_at: datetime | None = None
    requests_per_minute: int | None = None
    calls_per_day: int | None = None


def create(connection: sa.Connection, new: NewKey) -> tuple[Key, str]:
    """The key and the token that its holder presents; the token cannot be had again."""
    prefix, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = Key(
        prefix=prefix,
        tenant_id=new.tenant_id,
        name=new.name,
        roles=new.roles,
        requests_per_minute=new.requests_per_minute,
        calls_per_day=new.calls_per_day,
        created_at=datetime.now(UTC),
        expires_at=new.expires_at,
        last_used_at=None,
        revoked_at=None,
    )
    values = {name: getattr(key, name) for name in Key.__slots__}
    values |= {"roles": ",".join(sorted(new.roles)), "secret_sha256": _hash(secret)}
    connection.execute(sa.insert(api_keys).values(values))
    return key, f"cak_{prefix}_{secret}"


def add_tenant(connection: sa.Connection, tenant_id: str) -> None:
    """Does nothing if it is there. Raises ValueError for a name that is none."""
    if not re.fullmatch(TENANT, tenant_id):
        raise ValueError(f"{tenant_id!r} is no name for a tenant; use 1 to 63 of a-z, 0-9 and inner hyphens")
    if not connection.execute(sa.select(sa.exists().where(tenants.c.id == tenant_id))).scalar():
        connection.execute(sa.insert(tenants).values(id=tenant_id, created_at=datetime.now(UTC)))


def any_made(engine: sa.Engine) -> bool:
    """Whether any key was ever made; revoked ones count, or revoking the last would open every door."""
    with engine.connect() as connection:
        return bool(connection.execute(sa.select(sa.exists().select_from(api_keys))).scalar())


def prefix_of(token: str) -> str | None:
    """None if it has not the form of a key."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found else None


def verified(engine: sa.Engine, token: str) -> Key | None:
    """None if it is unknown, wrong, expired or revoked."""
    found = _TOKEN.fullmatch(token)
    if not found:
        return None
    now = datetime.now(UTC)
    with engine.connect() as connection:
        row = connection.execute(sa.select(api_keys).where(api_keys.c.prefix == found[1])).one_or_none()
    # Compared even if the prefix is unknown, so that the time taken does not tell which prefixes exist.
    same = hmac.compare_digest(_hash(found[2]), row.secret_sha256 if row else _hash(""))
    key = _key(row) if row and same else None
    if key is None or not _is_good(key):
        return None
    if key.last_used_at is None or now - key.last_used_at > _USE_NOTED_EVERY:
        _note_use(engine, found[1], now)
    return key


def find(engine: sa.Engine, prefix: str) -> Key | None:
    """None if it is unknown, expired or revoked."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(api_keys).where(api_keys.c.prefix == prefix)).one_or_none()
    key = _key(row) if row else None
    return key if key and _is_good(key) else None


def listed(engine: sa.Engine, tenant_id: str | None = None) -> list[Key]:
    """Oldest first; all tenants' if none is named."""
    query = sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.prefix)
    if tenant_id is not None:
        query = query.where(api_keys.c.tenant_id == tenant_id)
    with engine.connect() as connection:
        return [_key(row) for row in connection.execute(query)]


def revoke(connection: sa.Connection, prefix: str, tenant_id: str | None = None) -> Key | None:
    """The key as it is now; None if there is none, or it is another tenant's. Once revoked, it stays so."""
    mine = [api_keys.c.prefix == prefix]
    if tenant_id is not None:
        mine.append(api_keys.c.tenant_id == tenant_id)
    connection.execute(
        sa.update(api_keys).where(*mine, api_keys.c.revoked_at.is_(None)).values(revoked_at=datetime.now(UTC))
    )
    row = connection.execute(sa.select(api_keys).where(*mine)).one_or_none()
    return _key(row) if row else None


def _is_good(key: Key) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > datetime.now(UTC))


def _note_use(engine: sa.Engine, prefix: str, now: datetime) -> None:
    try:
        with engine.begin() as connection:
            connection.execute(sa.update(api_keys).where(api_keys.c.prefix == prefix).values(last_used_at=now))
    except sa.exc.OperationalError:
        return  # a database that is locked for a while must not keep readers out


def _key(row: sa.Row[*tuple[object, ...]]) -> Key:
    values = row._asdict()
    del values["secret_sha256"]
    return Key(**{**values, "roles": frozenset(Role(role) for role in values["roles"].split(",") if role)})


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
