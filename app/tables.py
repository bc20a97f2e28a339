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

calls = sa.Table(
    "calls",
    metadata,
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
    sa.Column("called_at", UtcTime, nullable=False, index=True),
    sa.Column("received_at", UtcTime, nullable=False),
    sa.Column("finished_at", UtcTime),
    sa.Column("report", sa.Text),
    sa.Column("problem", sa.Text),
    sqlite_autoincrement=True,
)

call_labels = sa.Table(
    "call_labels",
    metadata,
    sa.Column("call_id", sa.String(36), sa.ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("label", sa.String(30), primary_key=True, index=True),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("executor_id", sa.String(200), primary_key=True),
    sa.Column("beats", sa.BigInteger, nullable=False),
)
