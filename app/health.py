"""Is the service alive, is it ready or what is missing, how does it fare, and in what form does it report."""

import hmac
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from app.access import is_loopback
from app.deps import DatabaseDep, MetricsDep, RecordingsDep, SettingsDep
from app.errors import Fault, Problem, problem_of, refusal
from app.migration_state import newest, reached
from app.schema import report_schema

router = APIRouter(tags=["service"])


class Health(BaseModel):
    status: str


@router.get("/healthz")
def alive() -> Health:
    return Health(status="alive")


@router.get("/readyz", responses={503: {"model": Problem, "content": {"application/problem+json": {}}}})
def ready(database: DatabaseDep, recordings: RecordingsDep) -> Health:
    """503 while something is missing; `faults` names each part: database, migration, recordings.

    The models are loaded before the first request is taken, so they are not asked for.
    """
    missing = [_fault("database", lambda: _answers(database)) or _fault("migration", lambda: _migrated(database))]
    missing.append(_fault("recordings", recordings.check))
    if faults := tuple(fault for fault in missing if fault):
        told = "; ".join(f"{fault.field}: {fault.reason}" for fault in faults)
        refused = refusal(503, "not ready", told, {"retry-after": "5"})
        refused.problem = refused.problem.model_copy(update={"faults": faults})
        raise refused
    return Health(status="ready")


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request, settings: SettingsDep, counted: MetricsDep) -> Response:
    """For Prometheus: with the token of CALLAUDIT_METRICS_TOKEN, or without one from this machine alone."""
    if settings.metrics_token is not None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        wanted = settings.metrics_token.get_secret_value()
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), wanted.encode()):
            raise refusal(
                401,
                "no valid token",
                "send 'Authorization: Bearer' with the token of CALLAUDIT_METRICS_TOKEN",
                {"www-authenticate": 'Bearer realm="callaudit metrics"'},
            )
    elif not _from_this_machine(request):
        raise refusal(403, "metrics closed", "metrics are for this machine alone until CALLAUDIT_METRICS_TOKEN is set")
    return Response(counted.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/schema/report.json")
def schema() -> dict[str, Any]:
    return report_schema()


def _answers(database: sa.Engine) -> None:
    with database.connect() as connection:
        connection.execute(sa.select(1))


def _migrated(database: sa.Engine) -> None:
    with database.connect() as connection:
        is_at = reached(connection)
    if is_at != newest():
        raise refusal(503, "not ready", f"the tables are at version {is_at}, and this service needs {newest()}")


def _fault(name: str, check: Callable[[], object]) -> Fault | None:
    try:
        check()
    except OSError as error:
        return Fault(field=name, reason=f"it does not answer ({error.strerror or type(error).__name__})")
    except Exception as error:  # whatever it is, the part is not ready; what libraries say may hold passwords
        return Fault(field=name, reason=problem_of(error).detail)
    return None


def _from_this_machine(request: Request) -> bool:
    """A proxy on this machine asks on behalf of others, and says so."""
    proxied = any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip"))
    return request.client is not None and is_loopback(request.client.host) and not proxied
