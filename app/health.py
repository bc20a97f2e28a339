"""Is the service alive, is it ready, and in what form it reports."""

from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import BaseModel

from app.deps import DatabaseDep, RecordingsDep
from app.schema import report_schema

router = APIRouter(tags=["service"])


class Health(BaseModel):
    status: str


@router.get("/healthz")
def alive() -> Health:
    return Health(status="alive")


@router.get("/readyz")
def ready(database: DatabaseDep, recordings: RecordingsDep) -> Health:
    """The models are loaded before the first request is taken, so this asks for database and recordings only."""
    with database.connect() as connection:
        connection.execute(sa.select(1))
    recordings.check()
    return Health(status="ready")


@router.get("/v1/schema/report.json")
def schema() -> dict[str, Any]:
    return report_schema()
