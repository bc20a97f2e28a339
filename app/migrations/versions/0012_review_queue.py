"""Calls and reviews -> also a queue of calls to review, filters that are kept for it, and sessions of who reviews."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_KINDS = ("threat", "insult", "third_party_contact")
_AT_ONCE = 200


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "qa_sessions",
        sa.Column("secret_sha256", sa.String(64), primary_key=True),
        sa.Column("key_prefix", sa.String(12), sa.ForeignKey("api_keys.prefix"), nullable=False),
        sa.Column("expires_at", time, nullable=False, index=True),
    )
    op.create_table(
        "qa_filters",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("tenant_id", sa.String(63), sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("made_by", sa.String(40), nullable=False),
        sa.Column("created_at", time, nullable=False),
    )
    op.create_index("qa_filter_once_a_name", "qa_filters", ["tenant_id", "name"], unique=True)
    queue = op.create_table(
        "review_queue",
        sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("worst", sa.Float, nullable=False),
        sa.Column("place", sa.Integer),
        *(sa.Column(kind, sa.Float, nullable=False) for kind in _KINDS),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("flagged", "undecided", "awaiting", "decided")),
    )
    for name, column in (("worst", "worst"), ("threat", "threat"), ("insult", "insult")):
        op.create_index(f"review_queue_by_{name}", "review_queue", ["tenant_id", column, "number"])
    op.create_index("review_queue_by_third_party", "review_queue", ["tenant_id", "third_party_contact", "number"])
    _fill(op.get_bind(), queue)


def downgrade() -> None:
    for table in ("review_queue", "qa_filters", "qa_sessions"):
        op.drop_table(table)


def _fill(connection: sa.Connection, queue: sa.Table) -> None:
    calls = sa.table("calls", sa.column("id"), sa.column("tenant_id"), sa.column("number"), sa.column("report"))
    reviews = sa.table("reviews", sa.column("call_id"), sa.column("utterance"), sa.column("verdict"))
    decided: dict[str, set[int]] = {}
    for call_id, utterance in connection.execute(
        sa.select(reviews.c.call_id, reviews.c.utterance).where(reviews.c.verdict.is_not(None))
    ):
        decided.setdefault(call_id, set()).add(utterance)
    last = -1
    while True:
        done = sa.select(calls).where(calls.c.report.is_not(None), calls.c.number > last)
        rows = connection.execute(done.order_by(calls.c.number).limit(_AT_ONCE)).all()
        if not rows:
            return
        last = rows[-1].number
        op.bulk_insert(
            queue,
            [
                {"call_id": row.id, "tenant_id": row.tenant_id, "number": row.number}
                | _standing(json.loads(row.report)["utterances"], decided.get(row.id, set()))
                for row in rows
            ],
        )


def _standing(utterances: list[dict[str, Any]], decided: set[int]) -> dict[str, Any]:
    others = [u for u in utterances if u["speaker"] != "borrower"]
    flagged = [u for u in others if u["labels"]]
    open_ones = [u for u in flagged if u["index"] not in decided]
    worst = max(flagged or others, key=_highest, default=None)
    return {
        "worst": _highest(worst) if worst else 0.0,
        "place": worst["index"] if worst else None,
        **{kind: max((u["scores"][kind] for u in others), default=0.0) for kind in _KINDS},
        "flagged": len(flagged),
        "undecided": len(open_ones),
        "awaiting": sum(u["needs_review"] for u in open_ones),
        "decided": len(decided),
    }


def _highest(utterance: dict[str, Any]) -> float:
    return max(float(utterance["scores"][kind]) for kind in _KINDS)
