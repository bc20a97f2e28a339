"""Calls kept for ever -> kept as long as their tenant says, unless one is held."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("tenants", sa.Column("retention_days", sa.Integer))
    op.add_column("calls", sa.Column("held_because", sa.String(500)))


def downgrade() -> None:
    op.drop_column("calls", "held_because")
    op.drop_column("tenants", "retention_days")
