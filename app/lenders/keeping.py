"""How long a tenant's calls are kept, and which are held."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app import keeping
from app.access import Administering
from app.deps import DatabaseDep
from app.errors import refusal
from app.routes import tenant_router

router = tenant_router("/v1", "keeping")


class Retention(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [{"days": 1826}]})

    days: int | None = Field(ge=1, le=36_500, description="Since a call came in; null: for ever")


class Hold(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"because": "complaint 2026-118"}]}
    )

    because: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"\S")]


@router.get("/retention")
def read_retention(caller: Administering, database: DatabaseDep) -> Retention:
    return Retention(days=keeping.retention_days(database, caller.tenant_id))


@router.put("/retention")
def set_retention(caller: Administering, wanted: Retention, database: DatabaseDep) -> Retention:
    """Older calls are deleted within minutes, except those that are held. Workers do it, so one has to run."""
    keeping.set_retention(database, caller.tenant_id, caller.name, wanted.days)
    return wanted


@router.put("/calls/{call_id}/hold", status_code=204)
def hold_call(caller: Administering, call_id: str, wanted: Hold, database: DatabaseDep) -> None:
    """A held call is deleted neither by its age nor by anyone."""
    if not keeping.hold_call(database, caller.tenant_id, caller.name, call_id, wanted.because):
        raise refusal(404, "unknown call", f"there is no call {call_id}; it was never accepted, or it was deleted")


@router.delete("/calls/{call_id}/hold", status_code=204)
def let_call_go(caller: Administering, call_id: str, database: DatabaseDep) -> None:
    if not keeping.hold_call(database, caller.tenant_id, caller.name, call_id, None):
        raise refusal(404, "unknown call", f"there is no call {call_id}; it was never accepted, or it was deleted")
