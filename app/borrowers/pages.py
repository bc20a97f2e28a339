"""What the borrower's pages are made of."""

from typing import cast

from fastapi import Request

from app.pages import Pages

# Names of pictures of the icon, and their width.
ICONS = {"icon-192.png": 192, "icon-512.png": 512}


def new_pages() -> Pages:
    return Pages("app.borrowers", "", ("pages.css", "pages.js", "icon.svg", *ICONS))


def pages_of(request: Request) -> Pages:
    return cast(Pages, request.app.state.pages)
