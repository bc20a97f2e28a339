"""Settings and models -> the service at its address, until it is told to stop."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack

import typer
import uvicorn

from app.access import is_loopback
from app.config import CannotStart, Settings
from app.database import open_database
from app.keys import any_made
from app.main import create_app
from app.patience import patient
from app.recordings import Recordings
from app.timestamping import read_roots
from app.worker import claim_executor
from pipelines.score import Engine


def serve_http(settings: Settings, load_engine: Callable[[], Engine], host: str, port: int, with_worker: bool) -> None:
    """Raises CannotStart or ModelError before the first request could come in."""
    with ExitStack() as stack:
        listener = stack.enter_context(_bound(host, port))
        on_loopback = is_loopback(listener.getsockname()[0])
        read_roots(settings.timestamp_roots)  # else the first bundle would tell that they cannot be read
        with open_database(settings) as database:
            Recordings(settings)
            locked = any_made(database)
        if not locked and not on_loopback:
            raise CannotStart(
                f"no API key is made yet, so the service listens on loopback only, not on {host}; make one with"
                " 'callaudit keys create --tenant NAME --roles admin,ingest,read', or use --host 127.0.0.1"
            )
        executor_id = stack.enter_context(claim_executor(settings)) if with_worker else None
        server = _Server(
            uvicorn.Config(
                create_app(settings, load_engine(), executor_id, on_loopback),
                lifespan="on",
                log_config=None,
                access_log=False,  # it would write queries, which may name people
                server_header=False,
                http=patient(settings.request_within_seconds),
                ws="none",  # there is nothing to speak to
                timeout_graceful_shutdown=settings.stop_within_seconds,
            )
        )
        if not locked:
            server.notes.append("no API key is made yet: whoever uses this machine may use the service, nobody else")
        # uvicorn raises the signal that stopped it once more when it is done; stopping on request is no failure.
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, lambda *_: None)
        server.run(sockets=[listener])
        if not server.started:
            raise CannotStart("the service did not start; its log says why")
        leave_stuck_threads()


def leave_stuck_threads() -> None:
    """A thread deep inside a model cannot be interrupted, and Python would wait for it; its job is given back."""
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        logging.shutdown()
        os._exit(0)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.notes: list[str] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for note in self.notes:
                typer.echo(note, err=True)
            for listener in sockets or ():
                host, port = listener.getsockname()[:2]
                typer.echo(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", err=True)


def _bound(host: str, port: int) -> socket.socket:
    """Bound before the models are loaded, so that a port in use is told at once; uvicorn listens later."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise CannotStart(f"cannot listen on {host} port {port} ({error.strerror}); choose another --port") from error
    return listener
