"""What the model found -> and what people decided about it; the verdicts of calls follow them."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("utterance", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("verdict", sa.String(10)),
        sa.Column("labels", sa.String(100), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("reviewer", sa.String(40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("reviews_of_tenant", "reviews", ["tenant_id", "number"])
    verdicts = op.create_table(
        "call_verdicts",
        sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("label", sa.String(30), primary_key=True, index=True),
    )
    calls = sa.table("calls", sa.column("id"), sa.column("report"))
    # As of the reports that are there, since nobody has reviewed them yet.
    for row in op.get_bind().execute(sa.select(calls).where(calls.c.report.is_not(None))).all():
        found = json.loads(row.report)["summary"]["verdict"]
        if found:
            op.bulk_insert(verdicts, [{"call_id": row.id, "label": label} for label in found])


def downgrade() -> None:
    op.drop_table("call_verdicts")
    op.drop_table("reviews")
