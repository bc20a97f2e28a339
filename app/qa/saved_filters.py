"""Filters that a tenant's analysts keep under a name, for all of them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from fastapi import Response

from app.deps import DatabaseDep
from app.pages import go
from app.qa.deps import FieldsDep, SignedIn
from app.qa.filters import read_filters
from app.qa.pages import PREFIX
from app.qa.route import qa_router
from app.tables import qa_filters
from app.trouble import Trouble

router = qa_router("/filters")

_LONGEST_NAME = 60
_MOST = 100


@dataclass(frozen=True, slots=True)
class SavedFilter:
    id: str
    name: str
    query: str  # of the queue's address
    made_by: str


def of_tenant(engine: sa.Engine, tenant_id: str) -> list[SavedFilter]:
    """By name."""
    columns = [qa_filters.c[name] for name in SavedFilter.__slots__]
    query = sa.select(*columns).where(qa_filters.c.tenant_id == tenant_id).order_by(qa_filters.c.name)
    with engine.connect() as connection:
        return [SavedFilter(*row) for row in connection.execute(query)]


@router.post("")
def save_filter(caller: SignedIn, fields: FieldsDep, database: DatabaseDep) -> Response:
    name = " ".join(fields.get("name", "").split())
    query = read_filters(caller.tenant_id, fields.get("query", "")).query
    if not 0 < len(name) <= _LONGEST_NAME:
        raise Trouble(422, "filter_name")
    if not query:
        raise Trouble(422, "filter_empty")
    if len(of_tenant(database, caller.tenant_id)) >= _MOST:
        raise Trouble(409, "filters_full", most=_MOST)
    values = {"id": str(uuid4()), "tenant_id": caller.tenant_id, "name": name, "query": query}
    try:
        with database.begin() as connection:
            made = {"made_by": caller.name, "created_at": datetime.now(UTC)}
            connection.execute(sa.insert(qa_filters).values(**values, **made))
    except sa.exc.IntegrityError:
        raise Trouble(409, "filter_taken") from None
    return go(f"{PREFIX}?{query}&notice=saved")


@router.post("/{filter_id}/delete")
def remove_filter(filter_id: str, caller: SignedIn, database: DatabaseDep) -> Response:
    mine = (qa_filters.c.id == filter_id, qa_filters.c.tenant_id == caller.tenant_id)
    with database.begin() as connection:
        if not connection.execute(sa.delete(qa_filters).where(*mine)).rowcount:
            raise Trouble(404, "unknown_filter")
    return go(f"{PREFIX}?notice=removed")
