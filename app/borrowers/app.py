"""The borrower's pages -> part of the web application."""

from fastapi import FastAPI

from app.borrowers import case, evidence, letters, recording, share, start, uploads
from app.borrowers.gate import Gate
from app.borrowers.listening import new_locks
from app.borrowers.pages import new_pages
from app.borrowers.rules import read_rules
from app.config import Settings


def add_borrower_pages(app: FastAPI, settings: Settings) -> None:
    app.state.pages = new_pages()
    app.state.rules = read_rules()
    app.state.listening_locks = new_locks()
    app.state.gate = Gate(settings.borrower_uploads_per_hour)
    # The start's last route answers for every case page that there is not.
    for pages in (uploads, share, case, recording, letters, evidence, start):
        app.include_router(pages.router)
