"""Calls one by one -> also what several of them show together: findings of conduct, with the calls that prove them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "conduct_findings",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("rule", sa.String(100), nullable=False),
        sa.Column("judged_by", sa.Text, nullable=False),
        sa.Column("borrower_ref", sa.String(200)),
        sa.Column("first_at", time, nullable=False),
        sa.Column("last_at", time, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("at_most", sa.Integer),
        sqlite_autoincrement=True,
    )
    op.create_index("conduct_findings_of_tenant", "conduct_findings", ["tenant_id", "number"])
    op.create_index("conduct_findings_of_borrower", "conduct_findings", ["tenant_id", "borrower_ref", "number"])
    op.create_table(
        "conduct_proofs",
        sa.Column(
            "finding_id", sa.String(36), sa.ForeignKey("conduct_findings.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("called_at", time, nullable=False),
        sa.Column("collector_id", sa.String(200)),
        sa.Column("agency", sa.String(200)),
        sa.Column("contact", sa.String(20)),
        sa.Column("contact_refused", sa.Boolean, nullable=False),
        sa.Column("agreed_hours", sa.Boolean, nullable=False),
        sa.Column("duration_s", sa.Float, nullable=False),
        sa.Column("borrower_speech_s", sa.Float, nullable=False),
        sa.Column("unknown_speech_s", sa.Float, nullable=False),
    )
    op.create_index("conduct_proofs_of_call", "conduct_proofs", ["call_id"])


def downgrade() -> None:
    op.drop_table("conduct_proofs")
    op.drop_table("conduct_findings")
