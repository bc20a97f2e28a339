"""Tables as they were -> and the answers that a repeated request gets again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "idempotent_requests",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("key_sha256", sa.String(64), primary_key=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alive_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.LargeBinary),
    )
    op.create_index("idempotent_requests_by_age", "idempotent_requests", ["claimed_at"])


def downgrade() -> None:
    op.drop_table("idempotent_requests")
