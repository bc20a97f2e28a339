"""What the analysts' pages are made of."""

from typing import cast

from fastapi import Request

from app.pages import Pages

PREFIX = "/qa"
MENU = ((PREFIX, "site.queue"), (f"{PREFIX}/dashboard", "site.dashboard"))  # path and the key of its name
STATIC = ("pages.css", "qa.css", "dashboard.css", "call.js", "icon.svg")


def new_pages() -> Pages:
    return Pages("app.qa", PREFIX, STATIC)


def pages_of(request: Request) -> Pages:
    return cast(Pages, request.app.state.qa_pages)
