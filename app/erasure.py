"""What was deleted -> overwritten, as far as the service itself can see to it."""

import logging

import sqlalchemy as sa

from app.logs import where

_log = logging.getLogger(__name__)


def overwrite_deleted(engine: sa.Engine) -> None:
    """SQLite keeps words of deleted rows in its search index until that is merged, and pages in its write-ahead log.

    PostgreSQL overwrites at the next vacuum, which it runs by itself. A failure is left to the next deletion.
    """
    if engine.dialect.name != "sqlite":
        return
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO utterances_trigrams(utterances_trigrams) VALUES ('optimize')")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    except sa.exc.OperationalError as error:
        _log.warning("deleted rows are not overwritten yet: %s", where(error))
