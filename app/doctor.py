"""Settings -> what is in order and what is not, one line a part; nothing is left but the folder of recordings."""

import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import sqlalchemy as sa

from app.config import CannotStart, Settings
from app.engine import load_configured_engine
from app.errors import Refused
from app.migration_state import newest, reached
from app.recordings import Recordings
from app.tables import DEFAULT_TENANT
from app.timestamping import read_roots
from models.errors import ModelError

_LEAST_FREE = 2**30  # bytes: decoding an hour of two channels takes half of it
_CLOCK_APART = timedelta(seconds=5)
_BUILT = datetime(2026, 1, 1, tzinfo=UTC)
_PROBE_BYTES = 4096


class Wrong(Exception):
    """What is not in order, and what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    part: str
    fine: bool
    told: str


def examine(settings: Settings, host: str, port: int) -> Iterator[Finding]:
    """One part after another, each whatever the others say. `host`, `port`: where the service is to listen."""
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("models", lambda: _models(settings)),
        ("database", lambda: _database(settings)),
        ("migration", lambda: _migration(settings)),
        ("storage", lambda: _storage(settings)),
        ("disk", lambda: _disk(settings)),
        ("timestamps", lambda: _timestamps(settings)),
        ("clock", lambda: _clock(settings)),
        ("port", lambda: _service_port(host, port)),
        ("metrics", lambda: _metrics_port(settings)),
    )
    for part, check in checks:
        try:
            yield Finding(part, True, check())
        except (Wrong, CannotStart, ModelError, Refused) as error:
            yield Finding(part, False, str(error))
        except OSError as error:
            yield Finding(part, False, f"{error.strerror or error}")
        except sa.exc.SQLAlchemyError as error:
            yield Finding(part, False, _in_one_line(error))


def _models(settings: Settings) -> str:
    began = time.monotonic()
    engine = load_configured_engine(settings)
    names = ", ".join(f"{part.role} {part.name} {part.version}" for part in engine.models)
    return f"{names}; loaded in {time.monotonic() - began:.1f} s on {settings.device}"


def _database(settings: Settings) -> str:
    with _connection(settings) as connection:
        if connection is None:
            return f"{settings.database.database} is not there yet; the first start makes it"
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # fails if the file, or its folder, cannot be written to
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if found != "ok":
                raise Wrong(f"{settings.database.database} is damaged ({found}); restore it from a backup")
            return f"SQLite {connection.exec_driver_sql('SELECT sqlite_version()').scalar()}, can be written to"
        version = connection.exec_driver_sql("SHOW server_version").scalar()
        if connection.exec_driver_sql(
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'"
        ).scalar():
            raise Wrong("the server is a read-only copy; name its primary in CALLAUDIT_DATABASE_URL")
        if not connection.exec_driver_sql(r"SELECT '中' ~ '^\w$'").scalar():
            return f"PostgreSQL {version}; its locale does not know Chinese characters, so that search is slow"
        return f"PostgreSQL {version}"


def _migration(settings: Settings) -> str:
    with _connection(settings) as connection:
        is_at, wanted = (None if connection is None else reached(connection)), newest()
    if is_at is None:
        return f"no tables yet; the first start makes version {wanted}"
    if is_at != wanted:
        raise Wrong(
            f"the tables are at version {is_at}, this program needs {wanted}; start the service once to migrate"
        )
    return f"version {is_at}"


def _storage(settings: Settings) -> str:
    """Through the same code as recordings, with its encryption."""
    recordings, probe = Recordings(settings), os.urandom(_PROBE_BYTES)
    digest = sha256(probe).hexdigest()
    received = recordings.incoming / f"doctor-{digest[:16]}"
    try:
        received.write_bytes(probe)
        recordings.keep(received, DEFAULT_TENANT, digest)
        if b"".join(recordings.read(DEFAULT_TENANT, digest, 0, _PROBE_BYTES)) != probe:
            raise Wrong(f"{settings.recordings} gives back other bytes than it was given")
    finally:
        received.unlink(missing_ok=True)
        recordings.forget(DEFAULT_TENANT, digest)
    if recordings.has(DEFAULT_TENANT, digest):
        raise Wrong(f"{settings.recordings} does not delete; calls could not be removed")
    encrypted = "encrypted" if settings.keyring.locks else "not encrypted (CALLAUDIT_ENCRYPTION_KEY is not set)"
    return f"{settings.recordings}: a probe was written, read and deleted; recordings are {encrypted}"


def _disk(settings: Settings) -> str:
    least = max(_LEAST_FREE, 2 * settings.max_upload_bytes)
    told = []
    for folder in dict.fromkeys((_there(settings.data_dir.absolute()), Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        told.append(f"{free / 2**30:.1f} GiB free at {folder}")
        if free < least:
            raise Wrong(f"{told[-1]}, less than {least / 2**30:.1f} GiB; make room")
    return ", ".join(told)


def _timestamps(settings: Settings) -> str:
    """The authority is not asked. Raises CannotStart."""
    roots = read_roots(settings.timestamp_roots)
    believed = f"root certificates to check timestamps against: {len(roots)}"
    if settings.timestamp_url is None:
        return f"bundles get none (CALLAUDIT_TIMESTAMP_URL is not set); {believed}"
    return f"bundles get one from {settings.timestamp_url}; {believed}"


def _clock(settings: Settings) -> str:
    now = datetime.now(UTC)
    if now < _BUILT:
        raise Wrong(f"the clock says {now:%Y-%m-%d %H:%M} UTC, which is in the past; set it")
    with _connection(settings) as connection:
        if connection is None or connection.dialect.name == "sqlite":
            return f"{now:%Y-%m-%d %H:%M:%S} UTC"
        theirs: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    apart = abs(theirs - datetime.now(UTC))
    if apart > _CLOCK_APART:
        raise Wrong(f"this clock and the database's are {apart.total_seconds():.0f} s apart; set both by NTP")
    return f"{now:%Y-%m-%d %H:%M:%S} UTC, {apart.total_seconds():.1f} s from the database's"


def _service_port(host: str, port: int) -> str:
    if _free(host, port):
        return f"{host}:{port} is free"
    try:
        with build_opener(ProxyHandler({})).open(f"http://{_in_url(host)}:{port}/healthz", timeout=5) as answer:
            if b'"alive"' in answer.read(1000):
                return f"the service listens on {host}:{port}"
    except (URLError, OSError, ValueError):
        pass
    raise Wrong(f"another program has {host}:{port}; stop it, or choose another --port")


def _metrics_port(settings: Settings) -> str:
    token = "with a token" if settings.metrics_token else "for this machine alone (CALLAUDIT_METRICS_TOKEN is not set)"
    told = f"the service's /metrics is {token}"
    if settings.metrics_port is None:
        return f"{told}; workers serve none (CALLAUDIT_METRICS_PORT is not set)"
    if not _free(settings.metrics_host, settings.metrics_port):
        return f"{told}; {settings.metrics_host}:{settings.metrics_port} is in use, by a worker or another program"
    return f"{told}; {settings.metrics_host}:{settings.metrics_port} is free for a worker"


@contextmanager
def _connection(settings: Settings) -> Iterator[sa.Connection | None]:
    """Without migrating, or making, anything; None if there is no file yet."""
    url, wait_s = settings.database, settings.database_wait_seconds
    options: dict[str, float] = {"connect_timeout": max(1, round(wait_s))}
    if url.get_backend_name() == "sqlite":
        if not Path(str(url.database)).exists():
            yield None
            return
        url, options = (
            url.set(database=f"file:{url.database}", query={"mode": "rw", "uri": "true"}),
            {"timeout": wait_s},
        )
    engine = sa.create_engine(url, hide_parameters=True, poolclass=sa.NullPool, connect_args=options)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _there(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _in_one_line(error: sa.exc.SQLAlchemyError) -> str:
    said = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return " ".join(str(said).split())


def _free(host: str, port: int) -> bool:
    """Raises Wrong if it is no address of this machine, or not for this user."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise Wrong(f"cannot listen on {host}:{port} ({error.strerror})") from error
    return True


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - it is asked, not listened on
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
