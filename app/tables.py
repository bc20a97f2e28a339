"""The tables of the service, as the newest migration leaves them."""

from datetime import UTC, datetime

import sqlalchemy as sa


class UtcTime(sa.TypeDecorator[datetime]):
    """SQLite keeps no offsets, so times go in and come out as UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


metadata = sa.MetaData()

# Who has it all as long as no key is made: the one user of a machine.
DEFAULT_TENANT = "default"

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.String(63), primary_key=True),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("retention_days", sa.Integer),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("prefix", sa.String(12), primary_key=True),
    sa.Column("tenant_id", sa.String(63), sa.ForeignKey("tenants.id"), nullable=False, index=True),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("roles", sa.String(100), nullable=False),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("calls_per_day", sa.Integer),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime),
    sa.Column("last_used_at", UtcTime),
    sa.Column("revoked_at", UtcTime),
)

# With these in an index, PostgreSQL makes scorecards without looking up each call.
_COUNTED = ["id", "status", "seconds"]

calls = sa.Table(
    "calls",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("id", sa.String(36), nullable=False, unique=True),
    sa.Column("tenant_id", sa.String(63), nullable=False, server_default=DEFAULT_TENANT),
    sa.Column("key_prefix", sa.String(12)),
    sa.Column("status", sa.String(10), nullable=False, index=True),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("recording_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("recording_bytes", sa.BigInteger, nullable=False),
    sa.Column("media_type", sa.String(40), nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Column("collector_id", sa.String(200)),
    sa.Column("agency", sa.String(200)),
    sa.Column("seconds", sa.Float),
    sa.Column("collector_channel", sa.Integer),
    sa.Column("called_at", UtcTime, nullable=False, index=True),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime),
    sa.Column("report", sa.Text),
    sa.Column("problem", sa.Text),
    sa.Column("held_because", sa.String(500)),
    sa.Index("calls_of_tenant", "tenant_id", "number"),
    sa.Index("calls_of_key", "key_prefix", "received_at"),
    sa.Index("calls_by_status", "tenant_id", "status", "number"),
    sa.Index("calls_by_collector", "tenant_id", "collector_id", "number"),
    sa.Index("calls_by_time", "tenant_id", "called_at"),
    sa.Index("calls_of_collector", "tenant_id", "collector_id", "called_at", postgresql_include=_COUNTED),
    sa.Index("calls_of_agency", "tenant_id", "agency", "called_at", postgresql_include=_COUNTED),
    sqlite_autoincrement=True,
)

call_labels = sa.Table(
    "call_labels",
    metadata,
    sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("label", sa.String(30), primary_key=True, index=True),
)

# Of done calls, redacted, to be searched; what belongs to the call stands in every row, so that one index is enough.
utterances = sa.Table(
    "utterances",
    metadata,
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
    sa.Column("called_at", UtcTime, nullable=False),
    sa.Index("utterances_newest", "tenant_id", "called_at", "id"),
    sa.Index("utterances_by_label", "tenant_id", "label", "called_at", "id"),
    sa.Index("utterances_by_collector", "tenant_id", "collector_id", "called_at", "id"),
    sa.Index("utterances_by_agency", "tenant_id", "agency", "called_at", "id"),
    *(
        sa.Index(
            name,
            "tenant_id",
            "called_at",
            "id",
            postgresql_where=sa.text(condition),
            sqlite_where=sa.text(condition),
        )
        for name, condition in (
            ("utterances_to_review", "needs_review"),
            ("utterances_suppressed", "suppressed"),
            ("utterances_of_unknown", "speaker = 'unknown'"),
        )
    ),
    sqlite_autoincrement=True,
)

# As it is after reviews; call_labels keeps what the model found.
call_verdicts = sa.Table(
    "call_verdicts",
    metadata,
    sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("label", sa.String(30), primary_key=True, index=True),
)

reviews = sa.Table(
    "reviews",
    metadata,
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
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index("reviews_of_tenant", "tenant_id", "number"),
    sqlite_autoincrement=True,
)

# An analyst who signed in with a key; nothing of what the key may do is kept, so that revoking it ends the session.
qa_sessions = sa.Table(
    "qa_sessions",
    metadata,
    sa.Column("secret_sha256", sa.String(64), primary_key=True),
    sa.Column("key_prefix", sa.String(12), sa.ForeignKey("api_keys.prefix"), nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False, index=True),
)

qa_filters = sa.Table(
    "qa_filters",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("tenant_id", sa.String(63), sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("name", sa.String(60), nullable=False),
    sa.Column("query", sa.Text, nullable=False),
    sa.Column("made_by", sa.String(40), nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index("qa_filter_once_a_name", "tenant_id", "name", unique=True),
)

# What a done call's place in the queue depends on: the highest scores of speech that is not the borrower's, and how
# many of its flagged utterances people have not decided about, or must hear.
review_queue = sa.Table(
    "review_queue",
    metadata,
    sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("tenant_id", sa.String(63), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("worst", sa.Float, nullable=False),
    sa.Column("place", sa.Integer),
    sa.Column("threat", sa.Float, nullable=False),
    sa.Column("insult", sa.Float, nullable=False),
    sa.Column("third_party_contact", sa.Float, nullable=False),
    sa.Column("flagged", sa.Integer, nullable=False),
    sa.Column("undecided", sa.Integer, nullable=False),
    sa.Column("awaiting", sa.Integer, nullable=False),
    sa.Column("decided", sa.Integer, nullable=False),
    sa.Index("review_queue_by_worst", "tenant_id", "worst", "number"),
    sa.Index("review_queue_by_threat", "tenant_id", "threat", "number"),
    sa.Index("review_queue_by_insult", "tenant_id", "insult", "number"),
    sa.Index("review_queue_by_third_party", "tenant_id", "third_party_contact", "number"),
)

# A borrower's case has a tenant of its own, of the same id: what keeps tenants apart keeps borrowers apart.
cases = sa.Table(
    "cases",
    metadata,
    sa.Column("id", sa.String(63), sa.ForeignKey("tenants.id"), primary_key=True),
    sa.Column("link_sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("code_hash", sa.String(64), nullable=False),
    sa.Column("wrong_codes", sa.Integer, nullable=False),
    sa.Column("locked_until", UtcTime),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False, index=True),
    sa.Column("deleted_at", UtcTime),
    sa.Column("letter", sa.Text),
    sa.Column("letter_version", sa.Integer, nullable=False),
)

case_visits = sa.Table(
    "case_visits",
    metadata,
    sa.Column("secret_sha256", sa.String(64), primary_key=True),
    sa.Column("case_id", sa.String(63), sa.ForeignKey("cases.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("expires_at", UtcTime, nullable=False),
)

# What the borrower tells of a recording, and what was made of it for listening; the rest is the call's.
case_recordings = sa.Table(
    "case_recordings",
    metadata,
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
    sa.Index("recording_once_a_case", "case_id", "recording_sha256", unique=True),
)

# Beside the machine's text, never over it, and never one over another: the newest counts, all are kept.
corrections = sa.Table(
    "corrections",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), nullable=False),
    sa.Column("utterance", sa.Integer, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("speaker", sa.String(10), nullable=False),
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Index("corrections_of_utterance", "call_id", "utterance", "number"),
    sqlite_autoincrement=True,
)

# What several calls show together; it stands on its proofs alone, and each of those goes with its call.
conduct_findings = sa.Table(
    "conduct_findings",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("id", sa.String(36), nullable=False, unique=True),
    sa.Column("tenant_id", sa.String(63), nullable=False),
    sa.Column("rule", sa.String(100), nullable=False),
    sa.Column("judged_by", sa.Text, nullable=False),
    sa.Column("borrower_ref", sa.String(200)),
    sa.Column("first_at", UtcTime, nullable=False),
    sa.Column("last_at", UtcTime, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("at_most", sa.Integer),
    sa.Index("conduct_findings_of_tenant", "tenant_id", "number"),
    sa.Index("conduct_findings_of_borrower", "tenant_id", "borrower_ref", "number"),
    sqlite_autoincrement=True,
)

conduct_proofs = sa.Table(
    "conduct_proofs",
    metadata,
    sa.Column("finding_id", sa.String(36), sa.ForeignKey("conduct_findings.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("called_at", UtcTime, nullable=False),
    sa.Column("collector_id", sa.String(200)),
    sa.Column("agency", sa.String(200)),
    sa.Column("contact", sa.String(20)),
    sa.Column("contact_refused", sa.Boolean, nullable=False),
    sa.Column("agreed_hours", sa.Boolean, nullable=False),
    sa.Column("duration_s", sa.Float, nullable=False),
    sa.Column("borrower_speech_s", sa.Float, nullable=False),
    sa.Column("unknown_speech_s", sa.Float, nullable=False),
    sa.Index("conduct_proofs_of_call", "call_id"),
)

audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("tenant_id", sa.String(63), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("actor", sa.String(40), nullable=False),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("subject", sa.String(100), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("audit_log_of_subject", "tenant_id", "subject", "position"),
)

# Requests that came with an Idempotency-Key; the answer is sealed, and null as long as there is none.
idempotent_requests = sa.Table(
    "idempotent_requests",
    metadata,
    sa.Column("tenant_id", sa.String(63), primary_key=True),
    sa.Column("key_sha256", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(36), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("claimed_at", UtcTime, nullable=False),
    sa.Column("alive_at", UtcTime, nullable=False),
    sa.Column("answer", sa.LargeBinary),
    sa.Index("idempotent_requests_by_age", "claimed_at"),
)

# Where a tenant is told of events; secrets are sealed if the service has an encryption key.
webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("id", sa.String(27), primary_key=True),
    sa.Column("tenant_id", sa.String(63), sa.ForeignKey("tenants.id"), nullable=False, index=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", sa.String(200), nullable=False),
    sa.Column("description", sa.String(200), nullable=False),
    sa.Column("redacted", sa.Boolean, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("previous_secret", sa.Text),
    sa.Column("previous_until", UtcTime),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("disabled_at", UtcTime),
)

# The outbox: one row an event and webhook, written in the transaction of what it tells of.
webhook_messages = sa.Table(
    "webhook_messages",
    metadata,
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
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("due_at", UtcTime, nullable=False),
    sa.Column("give_up_at", UtcTime, nullable=False),
    sa.Column("settled_at", UtcTime),
    sa.Column("last_problem", sa.String(300)),
    sa.Index("webhook_messages_due", "state", "due_at"),
    sa.Index("webhook_messages_in_order", "webhook_id", "call_id", "number"),
    sqlite_autoincrement=True,
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("executor_id", sa.String(200), primary_key=True),
    sa.Column("beats", sa.BigInteger, nullable=False),
)
