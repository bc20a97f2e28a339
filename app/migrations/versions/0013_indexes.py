"""Indexes as they were thought out -> as a hundred thousand calls need them; searches give the newest call first."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_UTTERANCES = {
    "utterances_newest": [],
    "utterances_by_label": ["label"],
    "utterances_by_collector": ["collector_id"],
    "utterances_by_agency": ["agency"],
}
_FEW = {
    "utterances_to_review": "needs_review",
    "utterances_suppressed": "suppressed",
    "utterances_of_unknown": "speaker = 'unknown'",
}
_CALLS = {
    "calls_by_status": ["status", "number"],
    "calls_by_collector": ["collector_id", "number"],
    "calls_by_time": ["called_at"],
}


def upgrade() -> None:
    for name, columns in _UTTERANCES.items():
        op.drop_index(name, "utterances")
        op.create_index(name, "utterances", ["tenant_id", *columns, "called_at", "id"])
    for name, condition in _FEW.items():
        few = sa.text(condition)
        op.create_index(name, "utterances", ["tenant_id", "called_at", "id"], postgresql_where=few, sqlite_where=few)
    for name, columns in _CALLS.items():
        op.create_index(name, "calls", ["tenant_id", *columns])
    # What scorecards count by: they need not look up the calls themselves.
    for name, column in (("calls_of_collector", "collector_id"), ("calls_of_agency", "agency")):
        op.drop_index(name, "calls")
        op.create_index(
            name, "calls", ["tenant_id", column, "called_at"], postgresql_include=["id", "status", "seconds"]
        )
    op.drop_index("ix_calls_collector_id", "calls")  # no question is asked across tenants
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE INDEX utterances_by_score ON utterances (tenant_id, greatest(threat, insult, third_party_contact))"
        )
        _index_trigrams(3)


def downgrade() -> None:
    op.create_index("ix_calls_collector_id", "calls", ["collector_id"])
    for name, column in (("calls_of_collector", "collector_id"), ("calls_of_agency", "agency")):
        op.drop_index(name, "calls")
        op.create_index(name, "calls", ["tenant_id", column, "called_at"])
    for name in _CALLS:
        op.drop_index(name, "calls")
    for name in _FEW:
        op.drop_index(name, "utterances")
    for name, columns in _UTTERANCES.items():
        op.drop_index(name, "utterances")
        op.create_index(name, "utterances", ["tenant_id", *columns, "id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP INDEX utterances_by_score")
        _index_trigrams(2)


def _index_trigrams(times: int) -> None:
    """Every character so many times: of two, words of two characters have trigrams; of three, single ones do."""
    op.execute("DROP INDEX utterances_trigrams")
    repeated = r"\1" * times
    op.execute(
        "CREATE INDEX utterances_trigrams ON utterances"
        f" USING gin (regexp_replace(text, '(.)', '{repeated}', 'g') gin_trgm_ops)"
    )
