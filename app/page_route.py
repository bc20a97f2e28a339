"""The class of every route for people: no form from another site, and whatever goes wrong is told as a page."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.errors import Refused, problem_of
from app.logs import where
from app.pages import HEADERS, Pages
from app.trouble import Trouble

_log = logging.getLogger(__name__)
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Tell = Callable[[Request, Exception], Response]
Admit = Callable[[Request], None]


def refuse_other_sites(request: Request) -> None:
    """A page elsewhere must not send forms in a visitor's name. Raises Trouble."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("host", "")
    if foreign:
        raise Trouble(403, "other_site")


def page_router(prefix: str, tell: Tell, admit: Admit = refuse_other_sites) -> APIRouter:
    """Its routes are no part of the API's description. `tell`: the page of what went wrong, in its audience's words.

    `admit`: raises Trouble for what changes something and must not come in.
    """

    class PageRoute(APIRoute):
        def get_route_handler(self) -> _Handler:
            answer = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    if request.method not in ("GET", "HEAD"):
                        admit(request)
                    response = await answer(request)
                except ClientDisconnect:
                    raise
                except Exception as error:  # the last place where it can become a page
                    return tell(request, error)
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
                return response

            return handle

    return APIRouter(prefix=prefix, route_class=PageRoute, include_in_schema=False)


def show_trouble(pages: Pages, request: Request, trouble: Trouble, unknown: str) -> Response:
    """`unknown`: the key of the words for a trouble that the catalogue has none for."""
    words = pages.words(request)
    key = trouble.key if words.has(f"trouble.{trouble.key}") else unknown
    told = words(f"trouble.{key}", **trouble.values)
    todo = words(f"trouble.{key}_todo", **trouble.values)
    response = pages.show(request, "trouble.html", trouble.status, told=told, todo=todo)
    response.headers.update(trouble.headers)
    return response


def trouble_of(error: Exception) -> Trouble:
    """Of what any page may meet; keys that every catalogue has. Logs what is the service's own fault."""
    problem = problem_of(error)
    match error:
        case Trouble():
            trouble = error
        case RequestValidationError():
            trouble = Trouble(422, "form")
        case HTTPException():
            trouble = Trouble(error.status_code, "nothing_here" if error.status_code == 404 else "form")
        case Refused():
            trouble = Trouble(problem.status, "held" if problem.status == 409 else "form", error.headers)
        case sa.exc.OperationalError() | sa.exc.TimeoutError() if problem.status == 503:
            trouble = Trouble(503, "busy", {"retry-after": "5"})
        case _ if problem.status == 507:
            trouble = Trouble(507, "full")
        case _:
            trouble = Trouble(500, "unforeseen")
    if trouble.status >= 500:
        _log.error("%s: %s", trouble.key, where(error))
    return trouble
