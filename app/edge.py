"""Everything that can happen to a request -> problem+json and one line in the log."""

import logging
import time
from http import HTTPStatus
from typing import cast

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Fault, Problem, Refused, problem_of
from app.logs import where
from models.errors import CallError

_log = logging.getLogger(__name__)

_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_LONGEST_ECHO = 200  # characters of what was sent
_MOST_FAULTS = 50  # a request of many wrong parts gets no answer of many times its size


def answer_problems(app: FastAPI) -> None:
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    for kind in (CallError, OSError, sa.exc.OperationalError, sa.exc.TimeoutError):
        app.add_exception_handler(kind, _known)
    app.add_middleware(_Edge)


class _Edge:
    """Outermost: tells each request by its route, never by its query, and lets no error out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def _send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, _send)
        except ClientDisconnect:
            _log.info("%s went away in mid-request", scope["method"])
        except Exception as error:  # the last place to turn it into an answer
            _log.error("unforeseen: %s", where(error))
            if not status:
                await _respond(problem_of(error))(scope, receive, _send)
        route = scope.get("route")
        path = getattr(route, "path", "unknown path")
        call_id = scope.get("path_params", {}).get("call_id", "")
        if metrics := scope.get("state", {}).get("metrics"):
            metrics.answered(scope["method"], path, status, time.monotonic() - began)
        _log.info("%s %s %s %d in %.3f s", scope["method"], path, call_id, status, time.monotonic() - began)


async def _refused(_request: Request, error: Exception) -> Response:
    refused = cast(Refused, error)
    return _respond(refused.problem, refused.headers)


async def _known(_request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem.status >= 500:
        _log.warning("%s: %s", problem.title, where(error))
    return _respond(problem, {"retry-after": "5"} if problem.status == 503 else None)


async def _http(request: Request, error: Exception) -> Response:
    raised = cast(HTTPException, error)
    headers = {name.lower(): value for name, value in (raised.headers or {}).items()}
    detail = str(raised.detail)
    if raised.status_code == 404:
        # Not of request.url, which a Host header that is none makes unreadable.
        detail = f"there is nothing at {request.scope['path'][:_LONGEST_ECHO]}"
    elif raised.status_code == 405:
        headers["allow"] = ", ".join(_methods(request))
        detail = f"{request.method[:_LONGEST_ECHO]} is not possible here; {headers['allow']} are"
    problem = Problem(title=HTTPStatus(raised.status_code).phrase, status=raised.status_code, detail=detail)
    return _respond(problem, headers)


def _methods(request: Request) -> list[str]:
    """All that the address takes; the router itself names those of one of its routes only."""
    return [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


async def _invalid(_request: Request, error: Exception) -> Response:
    # What was sent is not repeated: it can be a transcript.
    wrong = cast(RequestValidationError, error).errors()
    faults = tuple(
        Fault(field=".".join(map(str, f["loc"]))[:_LONGEST_ECHO], reason=f["msg"]) for f in wrong[:_MOST_FAULTS]
    )
    told = "; ".join(f"{fault.field}: {fault.reason}" for fault in faults[:3])
    return _respond(
        Problem(
            type="urn:callaudit:problem:invalid-request",
            title="Invalid request",
            status=422,
            detail=told,
            faults=faults,
        )
    )


def _respond(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=problem.status,
        headers=headers,
        media_type="application/problem+json",
    )
