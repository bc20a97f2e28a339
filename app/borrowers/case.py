"""A case: its recordings and days, its code, its end. Nothing of it is told before the code is."""

import asyncio
import json
import unicodedata
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool

from app import cases
from app.borrowers.deps import (
    VISIT_COOKIE,
    CaseWithForm,
    ExistingCase,
    FieldsDep,
    GateDep,
    PagesDep,
    RulesDep,
    VisitedCase,
    address_of,
    path_of,
)
from app.borrowers.forms import LONGEST_LINE, RECORDINGS, received, told_of
from app.borrowers.intake import IntakeDep
from app.borrowers.route import pages_router
from app.borrowers.start import CODE_COOKIE, CODE_SHOWN_FOR
from app.borrowers.timeline import timeline, when
from app.borrowers.trouble import call_key
from app.calls import Status
from app.cases import CaseRecording
from app.deps import DatabaseDep, JobsDep, RecordingsDep, SettingsDep
from app.pages import go, local_time, with_cookie
from app.trouble import Trouble

router = pages_router("/case/{link}")

_EVENTS_EVERY_S = 1.0
_EVENTS_FOR_S = 60.0  # then the browser asks again, so that no connection outlives a stop of the service by much
_OPEN = (Status.QUEUED, Status.PROCESSING)


@router.get("")
def case_page(
    *,
    link: str,
    request: Request,
    case: VisitedCase,
    database: DatabaseDep,
    pages: PagesDep,
    rules: RulesDep,
    settings: SettingsDep,
    notice: str = "",
) -> Response:
    found = cases.recordings(database, case.id)
    words = pages.words(request)
    return pages.show(
        request,
        "case.html",
        case=case,
        path=path_of(link),
        link=str(request.url.replace(query="")),
        code=request.cookies.get(CODE_COOKIE, ""),
        recordings=found,
        problems={r.call_id: problem_key(r, words.has) for r in found},
        waiting=any(r.status in _OPEN for r in found),
        any_done=any(r.status is Status.DONE for r in found),
        when=when,
        timeline=timeline(found, rules.limits),
        rules=rules,
        notice=notice if words.has(f"notice.{notice}") else "",
        largest_bytes=settings.borrower_upload_bytes,
        days=settings.borrower_days,
        longest=LONGEST_LINE,
        accepted=RECORDINGS,
    )


@router.get("/events")
def progress_events(case: VisitedCase, database: DatabaseDep) -> EventSourceResponse:
    """How far each recording is, whenever that changes; the last event is `done`."""

    async def events() -> AsyncIterator[bytes]:
        told = ""
        for _ in range(int(_EVENTS_FOR_S / _EVENTS_EVERY_S)):
            found = await run_in_threadpool(cases.recordings, database, case.id)
            now = json.dumps([{"id": r.call_id, "status": r.status, "progress": round(r.progress, 2)} for r in found])
            if now != told:
                told = now
                yield format_sse_event(data_str=now, event="progress")
            if not any(r.status in _OPEN for r in found):
                yield format_sse_event(data_str="{}", event="done")
                return
            await asyncio.sleep(_EVENTS_EVERY_S)

    return EventSourceResponse(events(), headers={"cache-control": "no-store", "x-accel-buffering": "no"})


@router.post("/recordings")
async def add_recording(
    *,
    link: str,
    request: Request,
    case: VisitedCase,
    intake: IntakeDep,
    gate: GateDep,
) -> Response:
    async with received(request, intake.recordings.incoming, intake.settings.borrower_upload_bytes) as (fields, file):
        told, whole = told_of(fields)
        if file is not None:
            gate.admit_upload(address_of(request))
        await run_in_threadpool(intake.take_sent, case.id, fields, file, told)
    return go(f"{path_of(link)}?{urlencode({'notice': 'added' if whole else 'not_whole'})}")


@router.post("/code")
def tell_code(
    *,
    link: str,
    request: Request,
    case: ExistingCase,
    fields: FieldsDep,
    database: DatabaseDep,
    pages: PagesDep,
    gate: GateDep,
) -> Response:
    path = path_of(link)
    kept = {name.removeprefix("kept-"): value for name, value in fields.items() if name.startswith("kept-")}
    action = fields.get("action", "") if fields.get("action", "").startswith(f"{path}/") else ""
    gate.admit_code(address_of(request))
    code = "".join(c for c in unicodedata.normalize("NFKC", fields.get("code", "")) if c in "0123456789")
    opened = cases.open_with_code(database, case.id, code)
    if opened.result == "locked":
        assert opened.locked_until
        raise Trouble(429, "locked", {"retry-after": "900"}, until=local_time(opened.locked_until))
    if opened.result == "wrong":
        return pages.show(request, "code.html", 403, wrong=opened.tries_left, link=link, action=action, kept=kept)
    response = pages.show(request, "kept.html", action=action, kept=kept) if action else go(path)
    return with_cookie(response, request, VISIT_COOKIE, opened.visit, path=path, lasts=cases.VISIT_LASTS)


@router.post("/code/noted")
def note_code(link: str, _case: CaseWithForm) -> Response:
    response = go(path_of(link))
    response.delete_cookie(CODE_COOKIE, path=path_of(link))
    return response


@router.post("/code/new")
def replace_code(link: str, request: Request, case: CaseWithForm, database: DatabaseDep) -> Response:
    code = cases.new_code(database, case.id)
    return with_cookie(go(path_of(link)), request, CODE_COOKIE, code, path=path_of(link), lasts=CODE_SHOWN_FOR)


@router.post("/leave")
def leave(link: str, request: Request, case: CaseWithForm, database: DatabaseDep) -> Response:
    cases.end_visit(database, case.id, request.cookies.get(VISIT_COOKIE, ""))
    return _without_cookies(go("/left"), link)


@router.get("/delete")
def ask_before_delete(link: str, request: Request, case: VisitedCase, pages: PagesDep) -> Response:
    return pages.show(request, "delete.html", case=case, path=path_of(link))


@router.post("/delete")
def delete_case(
    link: str, case: CaseWithForm, database: DatabaseDep, recordings: RecordingsDep, jobs: JobsDep
) -> Response:
    cases.remove(database, case.id, recordings.forget, jobs.drop)
    return _without_cookies(go("/deleted"), link)


def problem_key(recording: CaseRecording, known: Callable[[str], bool]) -> str:
    """Of the text that says why the recording could not be scored; empty if it could."""
    if recording.problem is None:
        return ""
    key = call_key(json.loads(recording.problem)["type"])
    return key if known(f"trouble.{key}") else "call_other"


def _without_cookies(response: Response, link: str) -> Response:
    for name in (VISIT_COOKIE, CODE_COOKIE):
        response.delete_cookie(name, path=path_of(link))
    return response
