"""Which version the tables are at, and which one this program knows; nothing is changed."""

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory


def newest() -> str | None:
    config = Config()
    config.set_main_option("script_location", "app:migrations")
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config).get_current_head()


def reached(connection: sa.Connection) -> str | None:
    """None if there are no tables yet."""
    return MigrationContext.configure(connection).get_current_revision()
