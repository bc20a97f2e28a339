"""Settings -> an engine on SQLite or PostgreSQL whose tables are up to date."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from dbos import DBOS

from app.config import CannotStart, Settings
from app.tables import workers


@contextmanager
def open_database(settings: Settings) -> Iterator[sa.Engine]:
    """Creates or migrates what is there first. Raises CannotStart."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        engine = _engine(settings)
    except OSError as error:
        raise CannotStart(f"the data folder {settings.data_dir} cannot be used ({error.strerror})") from error
    try:
        try:
            _migrate(engine)
            DBOS.migrate(engine.url.render_as_string(hide_password=False))
        except sa.exc.DBAPIError as error:
            raise CannotStart(f"CALLAUDIT_DATABASE_URL: {_in_one_line(error)} ({engine.url!r})") from error
        yield engine
    finally:
        engine.dispose()


def hold(connection: sa.Connection, name: str) -> None:
    """Makes others who hold the same name wait until this transaction ends; call it before any write.

    On SQLite, where one writes at a time, whoever holds or has written anything holds everything.
    """
    if connection.dialect.name == "sqlite":
        sqlite = cast(sqlite3.Connection, connection.connection.driver_connection)
        if not sqlite.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


def _engine(settings: Settings) -> sa.Engine:
    # Statements' parameters are transcripts and metadata, so errors must not show them.
    if settings.database.get_backend_name() == "postgresql":
        timeout = max(1, round(settings.database_wait_seconds))
        return sa.create_engine(
            settings.database,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=10,
            max_overflow=20,
            # Plans are made for the values asked for: common words want another one than rare ones.
            connect_args={"connect_timeout": timeout, "prepare_threshold": None},
        )
    engine = sa.create_engine(
        settings.database,
        hide_parameters=True,
        pool_size=10,
        max_overflow=20,
        connect_args={"timeout": settings.database_wait_seconds},
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        # Without it a transaction that reads first can fail at once instead of waiting for its turn to write.
        connection.isolation_level = "IMMEDIATE"
        connection.execute("PRAGMA journal_mode=WAL")  # readers go on while one writes
        connection.execute("PRAGMA synchronous=FULL")  # an accepted call outlives a power cut
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, not just unlinked

    return engine


def _migrate(engine: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "app:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        hold(connection, "migrations")  # several processes start at once; one migrates, the others wait
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.execute(sa.update(workers).values(beats=0).where(sa.false()))  # fails if nothing can be written


def _in_one_line(error: sa.exc.DBAPIError) -> str:
    return " ".join(str(error.orig).split())
