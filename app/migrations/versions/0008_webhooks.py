"""Findings that are asked for -> findings that are told to lenders' own addresses, from an outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(27), primary_key=True),
        sa.Column("tenant_id", sa.String(63), sa.ForeignKey("tenants.id"), nullable=False, index=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", sa.String(200), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("redacted", sa.Boolean, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("previous_secret", sa.Text),
        sa.Column("previous_until", time),
        sa.Column("created_at", time, nullable=False),
    )
    op.create_table(
        "webhook_messages",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column(
            "webhook_id", sa.String(27), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("event", sa.String(30), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("due_at", time, nullable=False),
        sa.Column("give_up_at", time, nullable=False),
        sa.Column("settled_at", time),
        sa.Column("last_problem", sa.String(300)),
        sqlite_autoincrement=True,
    )
    op.create_index("webhook_messages_due", "webhook_messages", ["state", "due_at"])
    op.create_index("webhook_messages_in_order", "webhook_messages", ["webhook_id", "call_id", "number"])


def downgrade() -> None:
    op.drop_table("webhook_messages")
    op.drop_table("webhooks")
