"""Template and words -> a page that runs no script but the one script and tells no other site its address."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib import resources
from typing import Any, cast

from fastapi import Request
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.borrowers.words import Language, Words, read_words
from pipelines.evidence.words import FORMS, LABELS, SPEAKERS, clock, probability, reason

# The pages are for people in China, and it has one time zone.
CHINA = timezone(timedelta(hours=8))
LANGUAGE_COOKIE = "language"
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "same-origin",  # the link is a secret
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",  # what is deleted must not come back from a cache
    "x-robots-tag": "noindex",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_STATIC = {"pages.css": "text/css", "pages.js": "text/javascript"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    content: bytes
    media_type: str
    path: str  # with a hash of the content, so that it may be cached for ever


class Pages:
    """Everything that is read once."""

    def __init__(self) -> None:
        self._words = {language: read_words(language) for language in Language}
        self._environment = Environment(
            loader=ChoiceLoader([PackageLoader("app.borrowers"), PackageLoader("app")]),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.static = {name: _static(name, kind) for name, kind in _STATIC.items()}

    def draw(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)

    def words(self, request: Request) -> Words:
        return self._words[language_of(request)]

    def show(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        words = self.words(request)
        position = 0 if words.language is Language.ZH else 1
        shown = self._environment.get_template(template).render(
            t=words,
            language=words.language,
            here=request.url.path,
            css=self.static["pages.css"].path,
            js=self.static["pages.js"].path,
            in_words=lambda both: both[position],
            kinds=LABELS,
            forms=FORMS,
            speakers=SPEAKERS,
            probability=probability,
            reason=reason,
            clock=short_clock,
            local=local_time,
            **values,
        )
        return HTMLResponse(shown, status, headers=HEADERS)


def language_of(request: Request) -> Language:
    """Chinese until someone switches."""
    return Language.EN if request.cookies.get(LANGUAGE_COOKIE) == Language.EN else Language.ZH


def pages_of(request: Request) -> Pages:
    return cast(Pages, request.app.state.pages)


def go(path: str) -> RedirectResponse:
    """After a form: the back button and a reload then send nothing twice."""
    return RedirectResponse(path, 303, headers=HEADERS)


def with_cookie(
    response: Response, request: Request, name: str, value: str, *, path: str, lasts: timedelta
) -> Response:
    response.set_cookie(
        name,
        value,
        max_age=int(lasts.total_seconds()),
        path=path,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return response


def short_clock(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    told = clock(seconds).partition(".")[0]
    return re.sub("^0:0?", "", told)


def local_time(at: datetime) -> str:
    return at.astimezone(CHINA).strftime("%Y-%m-%d %H:%M")


def _static(name: str, media_type: str) -> StaticFile:
    content = (resources.files("app.borrowers") / "static" / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return StaticFile(content, media_type, f"/static/{digest}/{name}")
