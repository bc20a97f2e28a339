"""Template and words -> a page that runs no script but the one script and tells no other site its address."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib import resources
from pathlib import PurePath
from typing import Any

from fastapi import Request
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.words import Language, Words, read_words
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
        "manifest-src 'self'",
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
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    content: bytes
    media_type: str
    path: str  # with a hash of the content, so that it may be cached for ever


class Pages:
    """Everything of one audience that is read once: its own texts, templates and files, and those that all share."""

    def __init__(self, package: str, prefix: str, static: Sequence[str]) -> None:
        """`package`: as "app.borrowers"; `prefix`: of the paths of its files; `static`: their names."""
        self._words = {language: read_words(package, language) for language in Language}
        self._environment = Environment(
            loader=ChoiceLoader([PackageLoader(package), PackageLoader("app")]),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._static = {name: _static(package, prefix, name) for name in static}

    def draw(self, template: str, **values: Any) -> str:
        """Without words."""
        return self._environment.get_template(template).render(**values)

    def path(self, name: str) -> str:
        """At which the file of this name is. Raises KeyError if there is none."""
        return self._static[name].path

    def file(self, digest: str, name: str) -> Response:
        """Raises KeyError if there is none of this name."""
        file = self._static[name]
        headers = {"x-content-type-options": "nosniff", "cache-control": "public, max-age=31536000, immutable"}
        if f"/{digest}/" not in file.path:
            headers["cache-control"] = "no-store"  # an old page that asks for an old file gets the new one
        return Response(file.content, media_type=file.media_type, headers=headers)

    def words(self, request: Request) -> Words:
        return self.words_in(language_of(request))

    def words_in(self, language: Language) -> Words:
        return self._words[language]

    def show(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        return HTMLResponse(self.write(request, template, **values), status, headers=HEADERS)

    def write(self, request: Request, template: str, **values: Any) -> str:
        """A page or a part of one, in the visitor's language."""
        words = self.words(request)
        position = 0 if words.language is Language.ZH else 1
        return self._environment.get_template(template).render(
            t=words,
            language=words.language,
            here=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            static=self.path,
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


def language_of(request: Request) -> Language:
    """Chinese until someone switches."""
    return Language.EN if request.cookies.get(LANGUAGE_COOKIE) == Language.EN else Language.ZH


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
    try:
        local = at.astimezone(CHINA)
    except OverflowError:  # the calendar ends before that day does in China
        local = datetime.max
    return local.strftime("%Y-%m-%d %H:%M")


def _static(package: str, prefix: str, name: str) -> StaticFile:
    own = resources.files(package) / "static" / name
    content = (own if own.is_file() else resources.files("app") / "static" / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return StaticFile(content, _MEDIA_TYPES[PurePath(name).suffix], f"{prefix}/static/{digest}/{name}")
