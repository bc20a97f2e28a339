"""Reports as they are -> utterances that can be searched, and what scorecards count by."""

import json

import sqlalchemy as sa
from alembic import op

from pipelines.redaction import redact_report
from pipelines.report import Report

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("calls", sa.Column("agency", sa.String(200)))
    op.add_column("calls", sa.Column("seconds", sa.Float))
    op.create_index("calls_of_collector", "calls", ["tenant_id", "collector_id", "called_at"])
    op.create_index("calls_of_agency", "calls", ["tenant_id", "agency", "called_at"])
    utterances = op.create_table(
        "utterances",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("place", sa.Integer),
        sa.Column("speaker", sa.String(10), nullable=False),
        sa.Column("start", sa.Float, nullable=False),
        sa.Column("stop", sa.Float, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("label", sa.String(30), nullable=False),
        sa.Column("threat", sa.Float, nullable=False),
        sa.Column("insult", sa.Float, nullable=False),
        sa.Column("third_party_contact", sa.Float, nullable=False),
        sa.Column("needs_review", sa.Boolean, nullable=False),
        sa.Column("suppressed", sa.Boolean, nullable=False),
        sa.Column("collector_id", sa.String(200)),
        sa.Column("agency", sa.String(200)),
        sa.Column("called_at", sa.DateTime(timezone=True), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("utterances_newest", "utterances", ["tenant_id", "id"])
    op.create_index("utterances_by_label", "utterances", ["tenant_id", "label", "id"])
    op.create_index("utterances_by_collector", "utterances", ["tenant_id", "collector_id", "id"])
    op.create_index("utterances_by_agency", "utterances", ["tenant_id", "agency", "id"])
    if op.get_bind().dialect.name == "sqlite":
        _index_trigrams_in_sqlite()
    else:
        # Every character twice, so that two of them make a trigram: most Chinese words have two.
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        op.execute(
            "CREATE INDEX utterances_trigrams ON utterances"
            r" USING gin (regexp_replace(text, '(.)', '\1\1', 'g') gin_trgm_ops)"
        )
    _fill(utterances)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for change in ("insert", "delete"):
            op.execute(f"DROP TRIGGER utterances_trigrams_{change}")
        op.execute("DROP TABLE utterances_trigrams")
    op.drop_table("utterances")
    op.drop_index("calls_of_agency", "calls")
    op.drop_index("calls_of_collector", "calls")
    op.drop_column("calls", "seconds")
    op.drop_column("calls", "agency")


def _index_trigrams_in_sqlite() -> None:
    op.execute(
        "CREATE VIRTUAL TABLE utterances_trigrams"
        " USING fts5(text, content='utterances', content_rowid='id', tokenize='trigram')"
    )
    op.execute(
        "CREATE TRIGGER utterances_trigrams_insert AFTER INSERT ON utterances BEGIN"
        " INSERT INTO utterances_trigrams(rowid, text) VALUES (new.id, new.text); END"
    )
    op.execute(
        "CREATE TRIGGER utterances_trigrams_delete AFTER DELETE ON utterances BEGIN"
        " INSERT INTO utterances_trigrams(utterances_trigrams, rowid, text) VALUES ('delete', old.id, old.text); END"
    )


def _fill(utterances: sa.Table) -> None:
    bind = op.get_bind()
    names = ("id", "tenant_id", "details", "collector_id", "called_at", "report")
    time = sa.column("called_at", sa.DateTime(timezone=True))
    calls = sa.table("calls", time, *(sa.column(n) for n in (*names, "agency", "seconds") if n != "called_at"))
    for call in bind.execute(sa.select(*(calls.c[name] for name in names)).where(calls.c.report.is_not(None))).all():
        report = redact_report(Report.model_validate_json(call.report))
        agency = json.loads(call.details).get("agency")
        values = {"agency": agency, "seconds": report.recording.duration}
        bind.execute(sa.update(calls).where(calls.c.id == call.id).values(values))
        rows = [
            {
                "tenant_id": call.tenant_id,
                "call_id": call.id,
                "place": u.index,
                "speaker": str(u.speaker),
                "start": u.start,
                "stop": u.end,
                "text": u.text,
                "label": str(u.label),
                **u.scores.model_dump(),
                "needs_review": u.needs_review,
                "suppressed": False,
                "collector_id": call.collector_id,
                "agency": agency,
                "called_at": call.called_at,
            }
            for u in report.utterances
        ]
        if rows:
            op.bulk_insert(utterances, rows)
