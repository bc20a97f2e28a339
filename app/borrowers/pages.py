"""What the borrower's pages are made of."""

from typing import cast

from fastapi import Request

from app.pages import Pages


def new_pages() -> Pages:
    return Pages("app.borrowers", "", ("pages.css", "pages.js"))


def pages_of(request: Request) -> Pages:
    return cast(Pages, request.app.state.pages)
