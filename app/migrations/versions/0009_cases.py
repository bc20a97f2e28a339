"""Calls of lenders -> also those of borrowers: cases, each a tenant of its own, with what its borrower adds."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "cases",
        sa.Column("id", sa.String(63), sa.ForeignKey("tenants.id"), primary_key=True),
        sa.Column("link_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("wrong_codes", sa.Integer, nullable=False),
        sa.Column("locked_until", time),
        sa.Column("created_at", time, nullable=False),
        sa.Column("expires_at", time, nullable=False, index=True),
        sa.Column("deleted_at", time),
        sa.Column("letter", sa.Text),
        sa.Column("letter_version", sa.Integer, nullable=False),
    )
    op.create_table(
        "case_visits",
        sa.Column("secret_sha256", sa.String(64), primary_key=True),
        sa.Column("case_id", sa.String(63), sa.ForeignKey("cases.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("expires_at", time, nullable=False),
    )
    op.create_table(
        "case_recordings",
        sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("case_id", sa.String(63), sa.ForeignKey("cases.id", ondelete="CASCADE"), nullable=False),
        sa.Column("recording_sha256", sa.String(64), nullable=False),
        sa.Column("upload", sa.String(64)),
        sa.Column("called_on", sa.String(10), nullable=False),
        sa.Column("called_time", sa.String(5), nullable=False),
        sa.Column("file_time", sa.String(16), nullable=False),
        sa.Column("lender", sa.Text, nullable=False),
        sa.Column("caller_number", sa.Text, nullable=False),
        sa.Column("roles_swapped", sa.Boolean, nullable=False),
        sa.Column("bars", sa.Text),
        sa.Column("sound_sha256", sa.String(64)),
        sa.Column("sound_bytes", sa.BigInteger),
    )
    op.create_index("recording_once_a_case", "case_recordings", ["case_id", "recording_sha256"], unique=True)
    op.create_table(
        "corrections",
        sa.Column("number", number, primary_key=True),
        sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), nullable=False),
        sa.Column("utterance", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("speaker", sa.String(10), nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("created_at", time, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("corrections_of_utterance", "corrections", ["call_id", "utterance", "number"])


def downgrade() -> None:
    for table in ("corrections", "case_recordings", "case_visits", "cases"):
        op.drop_table(table)
