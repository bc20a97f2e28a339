"""The analysts' pages -> part of the web application."""

from fastapi import FastAPI

from app.config import Settings
from app.qa import call, dashboard, queue, reviewing, saved_filters, start
from app.qa.listening import Listener
from app.qa.pages import new_pages


def add_qa_pages(app: FastAPI, settings: Settings) -> None:
    """Raises CannotStart."""
    app.state.qa_pages = new_pages()
    dashboard.read_conduct_rules(app, settings)
    app.state.qa_listener = Listener()
    for pages in (start, queue, dashboard, saved_filters, call, reviewing):
        app.include_router(pages.router)
    app.include_router(start.last_router)
