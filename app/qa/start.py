"""Signing in and out, the language, and the files that pages load."""

from datetime import timedelta

from fastapi import Request, Response

from app.deps import DatabaseDep
from app.errors import Refused
from app.keys import Role
from app.pages import LANGUAGE_COOKIE, go, with_cookie
from app.qa import sessions
from app.qa.deps import SESSION_COOKIE, FieldsDep, door_of
from app.qa.pages import PREFIX, pages_of
from app.qa.route import qa_router
from app.qa.sign_in import safe_path, show_sign_in
from app.trouble import Trouble
from app.words import Language

router = qa_router()
last_router = qa_router()  # after all others: it answers for every page that there is not


@router.get("/sign-in")
def sign_in_page(request: Request, back: str = "") -> Response:
    if door_of(request).local(request):
        return go(safe_path(back))
    return show_sign_in(request, back=back)


@router.post("/sign-in")
def sign_in(request: Request, fields: FieldsDep, database: DatabaseDep) -> Response:
    """A key's own limit of failed attempts counts here too."""
    back = fields.get("back", "")
    try:
        key = door_of(request).recognise(request, fields.get("key", "").strip())
    except Refused as refused:
        wrong = "too_many" if refused.problem.status == 429 else "wrong_key"
        response = show_sign_in(request, wrong, refused.problem.status, back)
        response.headers.update({k: v for k, v in (refused.headers or {}).items() if k == "retry-after"})
        return response
    if Role.READ not in key.roles:
        raise Trouble(403, "role_read")
    secret = sessions.begin(database, key)
    return with_cookie(go(safe_path(back)), request, SESSION_COOKIE, secret, path=PREFIX, lasts=sessions.LASTS)


@router.post("/sign-out")
def sign_out(request: Request, database: DatabaseDep) -> Response:
    sessions.end(database, request.cookies.get(SESSION_COOKIE, ""))
    response = go(f"{PREFIX}/sign-in")
    response.delete_cookie(SESSION_COOKIE, path=PREFIX)
    return response


@router.get("/language/{language}")
def switch_language(language: Language, request: Request, back: str = PREFIX) -> Response:
    lasts = timedelta(days=30)
    return with_cookie(go(safe_path(back)), request, LANGUAGE_COOKIE, language, path="/", lasts=lasts)


@router.get("/static/{digest}/{name}")
def static_file(digest: str, name: str, request: Request) -> Response:
    try:
        return pages_of(request).file(digest, name)
    except KeyError:
        raise Trouble(404, "nothing_here") from None


@last_router.get("/{rest:path}")
def no_such_page(rest: str) -> Response:
    raise Trouble(404, "nothing_here")
