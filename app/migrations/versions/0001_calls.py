"""Nothing -> calls, their labels, and the workers' heartbeats."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "calls",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("status", sa.String(10), nullable=False, index=True),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("recording_sha256", sa.String(64), nullable=False, index=True),
        sa.Column("recording_bytes", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.String(40), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("collector_id", sa.String(200), index=True),
        sa.Column("collector_channel", sa.Integer),
        sa.Column("called_at", time, nullable=False, index=True),
        sa.Column("received_at", time, nullable=False),
        sa.Column("finished_at", time),
        sa.Column("report", sa.Text),
        sa.Column("problem", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "call_labels",
        sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("label", sa.String(30), primary_key=True, index=True),
    )
    op.create_table(
        "workers",
        sa.Column("executor_id", sa.String(200), primary_key=True),
        sa.Column("beats", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_table("call_labels")
    op.drop_table("calls")
