"""First page, language, rules in plain words, and the files that pages load."""

import secrets
from datetime import timedelta

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from app import cases
from app.borrowers.deps import VISIT_COOKIE, GateDep, PagesDep, RulesDep, address_of, path_of
from app.borrowers.forms import LONGEST_LINE, RECORDINGS, received, told_of
from app.borrowers.intake import IntakeDep
from app.borrowers.route import pages_router
from app.cases import CaseGone, Secrets
from app.deps import DatabaseDep, SettingsDep
from app.pages import LANGUAGE_COOKIE, go, with_cookie
from app.trouble import Trouble
from app.words import Language
from models.call import KINDS

router = pages_router()

CODE_COOKIE = "code"
CODE_SHOWN_FOR = timedelta(hours=1)
ONCE_BYTES = 32
_LONGEST_ONCE = 200


@router.get("/")
def first_page(request: Request, pages: PagesDep, settings: SettingsDep) -> Response:
    return pages.show(
        request,
        "first.html",
        once=secrets.token_urlsafe(ONCE_BYTES),
        days=settings.borrower_days,
        largest_bytes=settings.borrower_upload_bytes,
        longest=LONGEST_LINE,
        accepted=RECORDINGS,
    )


@router.post("/cases")
async def make_case(
    *,
    request: Request,
    intake: IntakeDep,
    gate: GateDep,
) -> Response:
    """A form sent twice, by a double click or after going back, makes one case."""
    async with received(request, intake.recordings.incoming, intake.settings.borrower_upload_bytes) as (fields, file):
        once = fields.get("once", "")[:_LONGEST_ONCE]
        if len(once) < ONCE_BYTES:
            raise Trouble(400, "broken_form")
        told, whole = told_of(fields)
        if file is not None:
            gate.admit_upload(address_of(request))
        new = await run_in_threadpool(Secrets.of, once)
        try:
            await run_in_threadpool(intake.take_sent, new, fields, file, told)
        except CaseGone:
            # The form is from before the case was deleted; what it sends begins another.
            new = await run_in_threadpool(Secrets.of, secrets.token_urlsafe(ONCE_BYTES))
            await run_in_threadpool(intake.take_sent, new, fields, file, told)
    return await run_in_threadpool(opened, request, intake.database, new, whole)


def opened(request: Request, database: DatabaseDep, new: Secrets, whole: bool = True) -> Response:
    """To the page of a case that was just made, which shows its code."""
    path = path_of(new.link)
    response: Response = go(path if whole else f"{path}?notice=not_whole")
    visit = cases.begin_visit(database, new.case_id)
    with_cookie(response, request, VISIT_COOKIE, visit, path=path, lasts=cases.VISIT_LASTS)
    if cases.opens(database, new):
        with_cookie(response, request, CODE_COOKIE, new.code, path=path, lasts=CODE_SHOWN_FOR)
    return response


@router.get("/rules")
def rules_page(request: Request, pages: PagesDep, rules: RulesDep) -> Response:
    return pages.show(request, "rules.html", rules=rules, all_kinds=KINDS)


@router.get("/language/{language}")
def switch_language(language: Language, request: Request, back: str = "/") -> Response:
    # A path of this site alone: //elsewhere and /\elsewhere would lead away.
    safe = back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/"
    return with_cookie(go(safe), request, LANGUAGE_COOKIE, language, path="/", lasts=timedelta(days=30))


@router.get("/static/{digest}/{name}")
def static_file(digest: str, name: str, pages: PagesDep) -> Response:
    try:
        return pages.file(digest, name)
    except KeyError:
        raise Trouble(404, "nothing_here") from None


@router.get("/favicon.ico")
def no_icon() -> Response:
    return Response(status_code=204)


@router.get("/deleted")
def deleted_page(request: Request, pages: PagesDep) -> Response:
    return pages.show(request, "told.html", about="deleted")


@router.get("/left")
def left_page(request: Request, pages: PagesDep) -> Response:
    return pages.show(request, "told.html", about="left")


@router.get("/case/{rest:path}")
def no_such_page(rest: str) -> Response:
    raise Trouble(404, "nothing_here")
