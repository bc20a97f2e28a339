"""The page on which an analyst signs in, and what leads there."""

from urllib.parse import urlencode

from fastapi import Request, Response

from app.qa.pages import PREFIX, pages_of


class NeedsSignIn(Exception):
    """Nobody is signed in, or no longer."""


def path_to_sign_in(request: Request) -> str:
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"{PREFIX}/sign-in?{urlencode({'back': here})}"


def show_sign_in(request: Request, wrong: str = "", status: int = 200, back: str = "") -> Response:
    """`wrong`: the key of the words for what was wrong; `back`: where to go on afterwards."""
    return pages_of(request).show(request, "sign_in.html", status, wrong=wrong, back=safe_path(back))


def safe_path(back: str) -> str:
    """A page of the analysts' alone: //elsewhere and /\\elsewhere would lead away."""
    return back if back == PREFIX or back.startswith((f"{PREFIX}/", f"{PREFIX}?")) else PREFIX
