"""Settings and models -> the web application."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from app import health
from app.access import Door
from app.borrowers.app import add_borrower_pages
from app.config import Settings
from app.database import open_database
from app.deps import State
from app.edge import answer_problems
from app.examples import show_examples
from app.jobs import JobQueue, Scoring
from app.lenders import audit, batch, calls, conduct, keeping, keys, reviews, scorecards, search, utterances, webhooks
from app.metrics import Metrics
from app.qa.app import add_qa_pages
from app.recordings import Recordings
from app.traces import send_traces
from app.worker import Worker
from pipelines.score import Engine
from pipelines.version import installed_version


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            show_examples(super().openapi())  # which keeps the document that it gives
        return super().openapi()


def create_app(settings: Settings, engine: Engine, executor_id: str | None, on_loopback: bool = False) -> FastAPI:
    """`executor_id`: under which name this process also scores calls; None leaves that to `callaudit worker`.

    `on_loopback`: nobody else can connect, so that no key is asked for until the first is made.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[State]:
        with ExitStack() as stack:
            database = stack.enter_context(open_database(settings))
            recordings = Recordings(settings)
            jobs = JobQueue(database)
            stack.callback(jobs.close)
            metrics = Metrics()
            metrics.watch(database, settings.worker_timeout_seconds)
            stack.enter_context(send_traces(settings, "service"))
            state = State(
                settings=settings,
                engine=engine,
                database=database,
                recordings=recordings,
                jobs=jobs,
                door=Door(database, on_loopback),
                metrics=metrics,
            )
            if executor_id is None:
                yield state
                return
            worker = Worker(Scoring(settings, engine, database, recordings, metrics), jobs, executor_id)
            await run_in_threadpool(worker.start)
            try:
                yield state
            finally:
                await run_in_threadpool(worker.stop)

    app = _App(
        title="callaudit",
        version=installed_version(),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # these two pages would load scripts from elsewhere
        redoc_url=None,
    )
    answer_problems(app)
    for router in (
        calls.router,
        batch.router,
        utterances.router,
        keys.router,
        audit.router,
        keeping.router,
        reviews.router,
        search.router,
        scorecards.router,
        conduct.router,
        webhooks.router,
        health.router,
    ):
        app.include_router(router)
    app.webhooks.include_router(webhooks.told)
    add_qa_pages(app, settings)
    if settings.borrower_pages == "on" or (settings.borrower_pages == "auto" and on_loopback):
        add_borrower_pages(app, settings)
    return app
