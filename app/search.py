"""Utterances of done calls, found by what was said, by whom, when, and what it was taken for."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from app.errors import refusal
from app.tables import calls, utterances
from models.call import KINDS, Label, Speaker
from pipelines.redaction import redact_report
from pipelines.report import Report

_TRIGRAM = 3
_IN_TRIGRAMS = re.compile(r"[^\W_]+")
_NEWEST = 20_000  # utterances that are looked through in some 20 ms


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
    """Newest call first; `before` is the id of the last one of the page before this.

    Raises Refused if that one is gone.
    """
    with engine.connect() as connection:
        filters, scores = _filters(connection, sought, before), _scores(engine.dialect.name, sought)
        if sought.text is None:
            query = sa.select(*_FOUND).where(*filters, *scores(utterances.c)).order_by(*_NEWEST_FIRST).limit(size)
            rows = connection.execute(query).all()
        else:
            rows = connection.execute(_newest_that_say(filters, scores, sought.text, size)).all()
            if len(rows) < size:
                says = _says(engine.dialect.name, sought.text)
                rows = connection.execute(
                    _all(engine.dialect.name, [*filters, *scores(utterances.c), says], size)
                ).all()
    return [Found(**{**row._asdict(), "speaker": Speaker(row.speaker), "label": Label(row.label)}) for row in rows]


def calls_that_say(dialect: str, tenant_id: str, text: str) -> sa.Select[tuple[str]]:
    """The ids of a tenant's calls in which this is said, as redacted."""
    mine = (utterances.c.tenant_id == tenant_id, utterances.c.suppressed.is_(False))
    return sa.select(utterances.c.call_id).where(*mine, _says(dialect, text))


_FOUND = tuple(utterances.c[name] for name in Found.__slots__)
_Columns = ReadOnlyColumnCollection[str, Any]
_Filters = list[sa.ColumnElement[bool]]
_Scores = Callable[[_Columns], _Filters]
_NEWEST_FIRST = (utterances.c.called_at.desc(), utterances.c.id.desc())


def _filters(connection: sa.Connection, sought: Sought, before: int | None) -> _Filters:
    """All but text and scores: what an index leads to."""
    u, filters = utterances.c, [utterances.c.tenant_id == sought.tenant_id]
    if before is not None:
        at = connection.execute(sa.select(u.called_at).where(*filters, u.id == before)).scalar()
        if at is None:
            raise refusal(
                422, "unknown cursor", "the call that the page before this ended with is deleted; start again"
            )
        filters += [u.called_at <= at, sa.or_(u.called_at < at, u.id < before)]
    if sought.called_from is not None:
        filters.append(u.called_at >= sought.called_from)
    if sought.called_before is not None:
        filters.append(u.called_at < sought.called_before)
    for name in ("label", "collector_id", "agency", "needs_review", "suppressed"):
        if (wanted := getattr(sought, name)) is not None:
            filters.append(u[name] == (wanted if isinstance(wanted, bool) else str(wanted)))
    if sought.speaker is not None:
        # Written out, so that the index of the few whose speaker is unknown is seen to fit.
        filters.append(u.speaker == sa.literal_column(f"'{sought.speaker}'"))
    return filters


def _scores(dialect: str, sought: Sought) -> _Scores:
    worst = sa.func.max if dialect == "sqlite" else sa.func.greatest

    def of(columns: _Columns) -> _Filters:
        label = sought.label
        score = columns[label.value] if label in KINDS else worst(*(columns[kind.value] for kind in KINDS))
        filters: _Filters = []
        if sought.min_score is not None:
            filters.append(score >= sought.min_score)
        if sought.max_score is not None:
            filters.append(score <= sought.max_score)
        return filters

    return of


def _newest_that_say(filters: _Filters, scores: _Scores, text: str, size: int) -> sa.Select[*tuple[object, ...]]:
    """Of the newest utterances alone: common words are found there at once, and cost no more than this."""
    newest = sa.select(*_FOUND).where(*filters).order_by(*_NEWEST_FIRST).limit(_NEWEST).subquery()
    query = sa.select(newest).where(newest.c.text.contains(text, autoescape=True), *scores(newest.c))
    return query.order_by(newest.c.called_at.desc(), newest.c.id.desc()).limit(size)


def _all(dialect: str, filters: _Filters, size: int) -> sa.Select[*tuple[object, ...]]:
    """Rare words, by the index of trigrams: all are found before they are put in order."""
    hits = sa.select(*_FOUND).where(*filters).cte("hits")
    if dialect == "postgresql":
        # Else it may go through all there is in order, in the hope of finding enough soon.
        hits = hits.prefix_with("MATERIALIZED")
    return sa.select(hits).order_by(hits.c.called_at.desc(), hits.c.id.desc()).limit(size)


def _says(dialect: str, text: str) -> sa.ColumnElement[bool]:
    plain = utterances.c.text.contains(text, autoescape=True)
    if dialect == "postgresql":
        pattern = _trigrams(text)
        if pattern is None:
            return plain
        # As the index has it: every character thrice, so that one alone is a trigram.
        tripled = sa.func.regexp_replace(
            utterances.c.text, sa.literal_column("'(.)'"), sa.literal_column(r"'\1\1\1'"), sa.literal_column("'g'")
        )
        return sa.and_(tripled.like(pattern), plain)
    if len(text) < _TRIGRAM:
        return plain
    phrase = '"' + text.replace('"', '""') + '"'
    trigrams = sa.table("utterances_trigrams", sa.column("rowid"))
    match = sa.text("utterances_trigrams MATCH :phrase").bindparams(phrase=phrase)
    return sa.and_(utterances.c.id.in_(sa.select(trigrams.c.rowid).where(match)), plain)


def _trigrams(text: str) -> str | None:
    """What the index is asked for: one trigram for every two neighbours, which costs a quarter of asking for all.

    None if there is none: marks are in no trigram.
    """
    asked = []
    for run in _IN_TRIGRAMS.findall(text):
        pairs = [2 * one + other for one, other in pairwise(run)]
        asked += pairs or [3 * run]
    return f"%{'%'.join(asked)}%" if asked else None
