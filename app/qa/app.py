"""The analysts' pages -> part of the web application."""

from fastapi import FastAPI

from app.qa import queue, saved_filters, start
from app.qa.pages import new_pages


def add_qa_pages(app: FastAPI) -> None:
    app.state.qa_pages = new_pages()
    for router in (start.router, queue.router, saved_filters.router, start.last_router):
        app.include_router(router)
