"""Utterances of done calls, found by what was said, by whom, when, and what it was taken for."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from app.tables import calls, utterances
from models.call import KINDS, Label, Speaker
from pipelines.redaction import redact_report
from pipelines.report import Report

_TRIGRAM = 3


@dataclass(frozen=True, slots=True)
class Sought:
    """None wants all."""

    tenant_id: str
    text: str | None = None  # any part of an utterance, as redacted
    label: Label | None = None
    min_score: float | None = None  # of `label`, or without one of any kind of abuse
    max_score: float | None = None
    speaker: Speaker | None = None
    collector_id: str | None = None
    agency: str | None = None
    called_from: datetime | None = None
    called_before: datetime | None = None
    needs_review: bool | None = None
    suppressed: bool | None = None


@dataclass(frozen=True, slots=True)
class Found:
    id: int  # counts up in the order in which calls were done
    call_id: str
    place: int | None  # None: suppressed words, which are no utterance
    speaker: Speaker
    start: float
    stop: float
    text: str
    label: Label
    threat: float
    insult: float
    third_party_contact: float
    needs_review: bool
    suppressed: bool
    collector_id: str | None
    agency: str | None
    called_at: datetime


def index(connection: sa.Connection, call_id: str, report: Report) -> None:
    """Only what may be read by all goes in, so that no search can find out what is masked."""
    call = connection.execute(
        sa.select(calls.c.tenant_id, calls.c.collector_id, calls.c.agency, calls.c.called_at).where(
            calls.c.id == call_id
        )
    ).one()
    shown = redact_report(report)
    rows = [
        {
            **call._mapping,
            "call_id": call_id,
            "place": u.index,
            "speaker": str(u.speaker),
            "start": u.start,
            "stop": u.end,
            "text": u.text,
            "label": str(u.label),
            **u.scores.model_dump(),
            "needs_review": u.needs_review,
            "suppressed": False,
        }
        for u in shown.utterances
    ]
    rows += [
        {
            **call._mapping,
            "call_id": call_id,
            "place": None,
            "speaker": str(Speaker.UNKNOWN),
            "start": part.start,
            "stop": part.end,
            "text": part.text,
            "label": str(Label.COMPLIANT),
            **dict.fromkeys((kind.value for kind in KINDS), 0.0),
            "needs_review": False,
            "suppressed": True,
        }
        for part in shown.suppressed
    ]
    if rows:
        connection.execute(sa.insert(utterances), rows)


def find(engine: sa.Engine, sought: Sought, before: int | None, size: int) -> list[Found]:
    """Newest first; `before` is the id of the last one of the page before this."""
    u = utterances.c
    query = sa.select(*_FOUND).where(u.tenant_id == sought.tenant_id).order_by(u.id.desc()).limit(size)
    if before is not None:
        query = query.where(u.id < before)
    if sought.text is not None:
        query = query.where(_says(engine.dialect.name, sought.text))
    if sought.min_score is not None:
        query = query.where(_score(sought.label) >= sought.min_score)
    if sought.max_score is not None:
        query = query.where(_score(sought.label) <= sought.max_score)
    if sought.called_from is not None:
        query = query.where(u.called_at >= sought.called_from)
    if sought.called_before is not None:
        query = query.where(u.called_at < sought.called_before)
    for name in ("label", "speaker", "collector_id", "agency", "needs_review", "suppressed"):
        if (wanted := getattr(sought, name)) is not None:
            query = query.where(u[name] == (wanted if isinstance(wanted, bool) else str(wanted)))
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return [Found(**{**row._asdict(), "speaker": Speaker(row.speaker), "label": Label(row.label)}) for row in rows]


def calls_that_say(dialect: str, tenant_id: str, text: str) -> sa.Select[tuple[str]]:
    """The ids of a tenant's calls in which this is said, as redacted."""
    mine = (utterances.c.tenant_id == tenant_id, utterances.c.suppressed.is_(False))
    return sa.select(utterances.c.call_id).where(*mine, _says(dialect, text))


_FOUND = tuple(utterances.c[name] for name in Found.__slots__)


def _score(label: Label | None) -> sa.ColumnElement[float]:
    kinds = [utterances.c[kind.value] for kind in KINDS]
    if label in KINDS:
        return utterances.c[label.value]
    # SQLite's max of several values is PostgreSQL's greatest; this is both.
    first, second, third = kinds
    larger = sa.case((first >= second, first), else_=second)
    return sa.case((larger >= third, larger), else_=third)


def _says(dialect: str, text: str) -> sa.ColumnElement[bool]:
    plain = utterances.c.text.contains(text, autoescape=True)
    if dialect == "postgresql":
        # As the index has it: every character twice, so that two of them make a trigram.
        doubled = sa.func.regexp_replace(
            utterances.c.text, sa.literal_column("'(.)'"), sa.literal_column(r"'\1\1'"), sa.literal_column("'g'")
        )
        return sa.and_(doubled.contains("".join(2 * character for character in text), autoescape=True), plain)
    if len(text) < _TRIGRAM:
        return plain
    phrase = '"' + text.replace('"', '""') + '"'
    trigrams = sa.table("utterances_trigrams", sa.column("rowid"))
    match = sa.text("utterances_trigrams MATCH :phrase").bindparams(phrase=phrase)
    return sa.and_(utterances.c.id.in_(sa.select(trigrams.c.rowid).where(match)), plain)
