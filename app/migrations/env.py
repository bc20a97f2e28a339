"""Alembic's entry: runs the versions on the connection that it is handed."""

from alembic import context

from app.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
