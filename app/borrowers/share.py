"""The page as an app of a phone, to which a recorder can share a recording: manifest, and what the phone then sends."""

import secrets
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from app.borrowers.deps import GateDep, PagesDep, address_of
from app.borrowers.forms import RECORDINGS, received_files
from app.borrowers.intake import IntakeDep
from app.borrowers.pages import ICONS
from app.borrowers.route import pages_router
from app.borrowers.start import ONCE_BYTES, opened
from app.cases import Secrets, Told
from app.pages import HEADERS, Pages, go
from app.trouble import Trouble
from app.words import Language

_MOST_FILES = 20
# Under which phones share what they know no type of, such as voice messages of WeChat.
_UNKNOWN = "application/octet-stream"
_GROUND, _ACCENT = "#f6f7f9", "#0f5a4d"  # as in pages.css


def _refuse_hidden(request: Request) -> None:
    """Phones send without our token, and browsers call that a request of another site; so would any page's form be.

    Such a form could make a new case of a file of its own and no more: no cookie is read, no case that is there is
    touched, nothing is told to the sender, and files count by address as ever. What comes from elsewhere must be seen,
    though: no script or frame of another page may do it behind a visitor's back. Raises Trouble.
    """
    for header, seen in (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")):
        if request.headers.get(header, seen) != seen:
            raise Trouble(403, "other_site")


router = pages_router(admit=_refuse_hidden)


@router.get("/{language}.webmanifest")
def manifest(language: Language, pages: PagesDep) -> Response:
    return JSONResponse(_manifest(language, pages), headers=HEADERS, media_type="application/manifest+json")


@router.post("/share")
async def share(request: Request, intake: IntakeDep, gate: GateDep) -> Response:
    """What is shared makes a new case, as an upload does; several recordings make one case."""
    largest = intake.settings.borrower_upload_bytes
    async with received_files(request, intake.recordings.incoming, largest, _MOST_FILES) as (_, files):
        if not files:
            raise Trouble(422, "no_file")
        for _file in files:
            gate.admit_upload(address_of(request))
        new = await run_in_threadpool(Secrets.of, secrets.token_urlsafe(ONCE_BYTES))
        await run_in_threadpool(intake.take, new, files, Told())
    return await run_in_threadpool(opened, request, intake.database, new)


@router.get("/share")
def nothing_shared() -> Response:
    """A browser that comes back to what a phone once opened."""
    return go("/")


def _manifest(language: Language, pages: Pages) -> dict[str, Any]:
    words = pages.words_in(language)
    pictures = [
        {"src": pages.path(name), "sizes": f"{width}x{width}", "type": "image/png", "purpose": "any maskable"}
        for name, width in ICONS.items()
    ]
    drawing = {"src": pages.path("icon.svg"), "sizes": "any", "type": "image/svg+xml"}
    return {
        "id": "/",
        "name": words("app.name"),
        "short_name": words("app.short"),
        "description": words("first.lead"),
        "lang": language.tag,
        "start_url": "/",
        "scope": "/",
        "display": "standalone",
        "background_color": _GROUND,
        "theme_color": _ACCENT,
        "icons": [drawing, *pictures],
        "share_target": {
            "action": "/share",
            "method": "POST",
            "enctype": "multipart/form-data",
            "params": {"files": [{"name": "file", "accept": [*RECORDINGS, _UNKNOWN]}]},
        },
    }
