"""The borrower's pages -> part of the web application."""

from fastapi import FastAPI

from app.borrowers import case, evidence, letters, recording, start, uploads
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
    for router in (uploads.router, case.router, recording.router, letters.router, evidence.router, start.router):
        app.include_router(router)
