"""What goes wrong on an analyst's page -> a page that tells it, or the page on which to sign in."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.errors import Refused
from app.page_route import page_router, show_trouble, trouble_of
from app.pages import HEADERS, go
from app.qa.pages import PREFIX, pages_of
from app.qa.sign_in import NeedsSignIn, path_to_sign_in, show_sign_in
from app.trouble import Trouble
from models.errors import CallError

_OF_REFUSAL = {403: "foreign", 404: "recording_gone", 409: "not_done", 429: "too_many_requests"}


def qa_router(prefix: str = "") -> APIRouter:
    """Of the pages under /qa; whatever a route raises becomes a page."""
    return page_router(PREFIX + prefix, _tell)


def _tell(request: Request, error: Exception) -> Response:
    match error:
        case NeedsSignIn() if wants_json(request):
            words = pages_of(request).words(request)
            return JSONResponse({"said": words("saying.session_over")}, 401, headers=HEADERS)
        case NeedsSignIn() if request.method in ("GET", "HEAD"):
            return go(path_to_sign_in(request))
        case NeedsSignIn():  # a form that was filled in before the session was over
            return show_sign_in(request, "session_over", 401)
        case Refused() if error.problem.status in _OF_REFUSAL:
            status = error.problem.status
            trouble = Trouble(status, _OF_REFUSAL[status], error.headers)
        case CallError():
            trouble = Trouble(422, "no_sound")
        case FileNotFoundError():
            trouble = Trouble(404, "recording_gone")
        case _:
            trouble = trouble_of(error)
    if not wants_json(request):
        return show_trouble(pages_of(request), request, trouble, "form")
    words = pages_of(request).words(request)
    why = " ".join(words(f"trouble.{key}", **trouble.values) for key in (trouble.key, f"{trouble.key}_todo"))
    said = words("saying.refused", why=why)
    return JSONResponse({"said": said}, trouble.status, headers={**HEADERS, **trouble.headers})


def wants_json(request: Request) -> bool:
    """The page's script asks, to change the page in its place."""
    return request.headers.get("accept", "").startswith("application/json")
