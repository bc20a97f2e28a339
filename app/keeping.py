"""How long calls are kept: by their tenant's rule, longer where one is held, and then gone."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from app import audit, calls, cases, idempotency
from app.audit import Action
from app.erasure import overwrite_deleted
from app.errors import Refused
from app.logs import where
from app.tables import calls as call_rows
from app.tables import tenants

_log = logging.getLogger(__name__)
_AT_ONCE = 500


def retention_days(engine: sa.Engine, tenant_id: str) -> int | None:
    """None: for ever."""
    with engine.connect() as connection:
        return connection.execute(sa.select(tenants.c.retention_days).where(tenants.c.id == tenant_id)).scalar()


def set_retention(engine: sa.Engine, tenant_id: str, actor: str, days: int | None) -> None:
    with engine.begin() as connection:
        connection.execute(sa.update(tenants).where(tenants.c.id == tenant_id).values(retention_days=days))
        audit.record(connection, tenant_id, actor, Action.RETENTION_SET, tenant_id, days=0 if days is None else days)


def hold_call(engine: sa.Engine, tenant_id: str, actor: str, call_id: str, why: str | None) -> bool:
    """None lets go. False if there is no such call."""
    mine = (call_rows.c.id == call_id, call_rows.c.tenant_id == tenant_id)
    with engine.begin() as connection:
        if not connection.execute(sa.update(call_rows).where(*mine).values(held_because=why)).rowcount:
            return False
        audit.record(connection, tenant_id, actor, Action.CALL_LET_GO if why is None else Action.CALL_HELD, call_id)
    return True


def remove_expired(
    engine: sa.Engine, forget_recording: Callable[[str, str], None], drop_job: Callable[[str], None]
) -> int:
    """How many calls went, and borrowers' cases. What cannot be removed is left for the next time."""
    idempotency.forget_old(engine)
    removed = cases.remove_expired(engine, forget_recording, drop_job)
    try:
        for tenant_id, call_id in _expired(engine, datetime.now(UTC)):
            try:
                removed += calls.remove(engine, tenant_id, "retention", call_id, forget_recording)
                drop_job(call_id)
            except (OSError, Refused, sa.exc.SQLAlchemyError) as error:
                _log.warning("expired call %s is still there: %s", call_id, where(error))
    finally:  # some may be gone when another error ends it
        if removed:
            overwrite_deleted(engine)
    return removed


def _expired(engine: sa.Engine, now: datetime) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        ruled = tenants.c.retention_days.is_not(None)  # cases are tenants without a rule, and there are many
        rules = connection.execute(sa.select(tenants.c.id, tenants.c.retention_days).where(ruled)).all()
        found: list[tuple[str, str]] = []
        for tenant_id, days in rules:
            query = sa.select(call_rows.c.id).where(
                call_rows.c.tenant_id == tenant_id,
                call_rows.c.received_at < now - timedelta(days=days),
                call_rows.c.held_because.is_(None),
            )
            ids = connection.execute(query.order_by(call_rows.c.number).limit(_AT_ONCE)).scalars()
            found += [(tenant_id, call_id) for call_id in ids]
    return found
