"""The analysts' pages -> part of the web application."""

from fastapi import FastAPI

from app.config import Settings
from app.qa import dashboard, queue, saved_filters, start
from app.qa.pages import new_pages


def add_qa_pages(app: FastAPI, settings: Settings) -> None:
    """Raises CannotStart."""
    app.state.qa_pages = new_pages()
    dashboard.read_conduct_rules(app, settings)
    for router in (start.router, queue.router, dashboard.router, saved_filters.router, start.last_router):
        app.include_router(router)
