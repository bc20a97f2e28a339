"""The letter of complaint of a case: filled, edited, kept, taken away as text."""

from datetime import datetime
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import Request, Response

from app import cases, corrections
from app.borrowers.deps import CaseWithForm, FieldsDep, PagesDep, RulesDep, VisitedCase, path_of
from app.borrowers.forms import LONGEST_TEXT
from app.borrowers.letter import Heard, draft
from app.borrowers.letter_pdf import as_pdf
from app.borrowers.recording import report_of
from app.borrowers.route import pages_router
from app.borrowers.rules import Rules
from app.borrowers.transcript import conversation
from app.calls import Status
from app.cases import Case
from app.deps import DatabaseDep
from app.pages import CHINA, HEADERS, go
from app.trouble import Trouble

router = pages_router("/case/{link}")


@router.get("/letter")
def letter_page(
    *,
    link: str,
    request: Request,
    case: VisitedCase,
    database: DatabaseDep,
    pages: PagesDep,
    rules: RulesDep,
    saved: bool = False,
) -> Response:
    return pages.show(
        request,
        "letter.html",
        case=case,
        path=path_of(link),
        text=letter_of(database, case, rules),
        version=case.letter_version,
        saved=saved,
        other=None,
        longest=LONGEST_TEXT,
    )


@router.post("/letter")
def save_letter(
    *,
    link: str,
    request: Request,
    case: CaseWithForm,
    fields: FieldsDep,
    database: DatabaseDep,
    pages: PagesDep,
    rules: RulesDep,
) -> Response:
    """What another page saved meanwhile is shown beside what is sent, and the borrower decides."""
    seen = int(fields["version"]) if fields.get("version", "").isdecimal() else -1
    text = None if fields.get("do") == "refill" else fields.get("text", "")
    if text is not None and len(text) > LONGEST_TEXT:
        raise Trouble(413, "letter_too_long", longest=LONGEST_TEXT)
    if cases.save_letter(database, case.id, text, seen):
        return go(f"{path_of(link)}/letter?saved=true")
    other = letter_of(database, case, rules)
    if text in (None, other):
        return go(f"{path_of(link)}/letter")
    return pages.show(
        request,
        "letter.html",
        409,
        case=case,
        path=path_of(link),
        text=text,
        version=case.letter_version,
        saved=False,
        other=other,
        longest=LONGEST_TEXT,
    )


@router.get("/letter.txt")
def letter_text(case: VisitedCase, database: DatabaseDep, rules: RulesDep) -> Response:
    # With a byte order mark and CRLF, or old text editors of Windows show Chinese as gibberish in one line.
    text = "\ufeff" + letter_of(database, case, rules).replace("\n", "\r\n")
    return Response(text, media_type="text/plain; charset=utf-8", headers=_download("txt"))


@router.get("/letter.pdf")
def letter_pdf(case: VisitedCase, database: DatabaseDep, rules: RulesDep) -> Response:
    made = as_pdf(letter_of(database, case, rules))
    if made is None:
        raise Trouble(501, "no_font")
    return Response(made, media_type="application/pdf", headers=_download("pdf"))


def letter_of(database: sa.Engine, case: Case, rules: Rules) -> str:
    """As the borrower left it, else filled from the case as it is now."""
    if case.letter is not None:
        return case.letter
    found = cases.recordings(database, case.id)
    heard = [
        Heard(
            r, conversation(report_of(database, r.call_id), corrections.of_call(database, r.call_id), r.roles_swapped)
        )
        for r in found
        if r.status is Status.DONE
    ]
    return draft(heard, found, rules, datetime.now(CHINA).date())


def _download(suffix: str) -> dict[str, str]:
    named = f"attachment; filename=\"letter.{suffix}\"; filename*=UTF-8''{quote('投诉书')}.{suffix}"
    return {**HEADERS, "content-disposition": named}
