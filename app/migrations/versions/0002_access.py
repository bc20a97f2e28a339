"""One owner of everything -> tenants, each with API keys; what is there belongs to the default tenant."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    tenants = op.create_table(
        "tenants",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("created_at", time, nullable=False),
    )
    op.bulk_insert(tenants, [{"id": "default", "created_at": datetime.now(UTC)}])
    op.create_table(
        "api_keys",
        sa.Column("prefix", sa.String(12), primary_key=True),
        sa.Column("tenant_id", sa.String(63), sa.ForeignKey("tenants.id"), nullable=False, index=True),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("roles", sa.String(100), nullable=False),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("calls_per_day", sa.Integer),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time),
        sa.Column("last_used_at", time),
        sa.Column("revoked_at", time),
    )
    # SQLite adds no column that has both a default and a foreign key.
    op.add_column("calls", sa.Column("tenant_id", sa.String(63), nullable=False, server_default="default"))
    op.add_column("calls", sa.Column("key_prefix", sa.String(12)))
    op.create_index("calls_of_tenant", "calls", ["tenant_id", "number"])
    op.create_index("calls_of_key", "calls", ["key_prefix", "received_at"])


def downgrade() -> None:
    op.drop_index("calls_of_key", "calls")
    op.drop_index("calls_of_tenant", "calls")
    op.drop_column("calls", "key_prefix")
    op.drop_column("calls", "tenant_id")
    op.drop_table("api_keys")
    op.drop_table("tenants")
