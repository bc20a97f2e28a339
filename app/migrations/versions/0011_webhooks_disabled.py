"""Webhooks that are told until they are deleted -> webhooks that are switched off once their receiver says 410 Gone."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("disabled_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("webhooks", "disabled_at")
