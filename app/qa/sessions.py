"""An API key, shown once -> a session of its holder, which is worth no more than the key is at that moment."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from app import keys
from app.access import Caller
from app.keys import Key
from app.tables import qa_sessions

LASTS = timedelta(hours=12)  # a working day, at whose end one signs in anew


def begin(engine: sa.Engine, key: Key) -> str:
    """The secret that the browser keeps; only its hash is stored. Sessions that are over are forgotten meanwhile."""
    secret, now = secrets.token_urlsafe(32), datetime.now(UTC)
    with engine.begin() as connection:
        connection.execute(sa.delete(qa_sessions).where(qa_sessions.c.expires_at <= now))
        values = {"secret_sha256": _hash(secret), "key_prefix": key.prefix, "expires_at": now + LASTS}
        connection.execute(sa.insert(qa_sessions).values(values))
    return secret


def holder(engine: sa.Engine, secret: str) -> Caller | None:
    """None if the session is over, or its key was revoked or has expired."""
    mine = (qa_sessions.c.secret_sha256 == _hash(secret), qa_sessions.c.expires_at > datetime.now(UTC))
    with engine.connect() as connection:
        prefix = connection.execute(sa.select(qa_sessions.c.key_prefix).where(*mine)).scalar()
    key = keys.find(engine, prefix) if prefix else None
    return Caller(key.tenant_id, key.roles, key) if key else None


def end(engine: sa.Engine, secret: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.delete(qa_sessions).where(qa_sessions.c.secret_sha256 == _hash(secret)))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
