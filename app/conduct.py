"""Findings of conduct across calls: kept with the calls that prove them, and never longer than those."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID, uuid5

import sqlalchemy as sa

from app.tables import calls, conduct_findings, conduct_proofs
from pipelines.conduct import Call, Finding, Rule, Rules, findings

T = TypeVar("T")

_NAMESPACE = UUID("4eaa1bda-fdf3-51f8-a744-be97d63b980c")
_AT_ONCE = 500
_TOLD_ELSEWHERE = ("borrower_ref", "direction")  # of a proof: by its finding, and by what rules look at
_PROOF = tuple(name for name in Call.__slots__ if name not in _TOLD_ELSEWHERE)


@dataclass(frozen=True, slots=True)
class Suspect:
    """Calls of the service, by their ids there, and the rules with the one rule that they may break together."""

    calls: tuple[Call, ...]
    rules: Rules


@dataclass(frozen=True, slots=True)
class Kept:
    """`calls` prove it, in order of time."""

    number: int  # counts up in the order in which findings were kept
    id: str
    rule: Rule
    time_zone: str  # whose clock the rule goes by
    borrower_ref: str | None
    first_at: datetime
    last_at: datetime
    count: int  # what the rule limits to `limit`
    limit: int | None
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which findings to list; None wants all."""

    tenant_id: str
    rule: str | None = None
    borrower_ref: str | None = None
    collector_id: str | None = None
    agency: str | None = None
    called_from: datetime | None = None
    called_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Replaced:
    """`unproven`: suspicions that the calls which are there do not bear out."""

    added: int
    there: int
    removed: int
    unproven: int


@dataclass(frozen=True, slots=True)
class Proven:
    """By rule: how many findings there are, and which calls prove them."""

    rules: tuple[Rule, ...]
    findings: Mapping[str, int]
    calls: Mapping[str, Collection[str]]


def single(rules: Rules, name: str) -> Rules:
    """The rules with this one rule alone."""
    return rules.model_copy(update={"rules": tuple(rule for rule in rules.rules if rule.id == name)})


def replace_findings(
    engine: sa.Engine, tenant_id: str, suspects: Iterable[Suspect], call_ids: Iterable[str]
) -> Replaced:
    """Keeps what the suspects prove; other findings that name any of `call_ids` go.

    Each is judged by those of its calls that are there. Run again, it changes nothing.
    """
    standing: set[str] = set()
    added = unproven = 0
    for some in _batches(suspects):
        with engine.begin() as connection:
            for suspect in some:
                found = _judge(tenant_id, suspect.rules, _there(connection, tenant_id, suspect.calls))
                unproven += not found
                standing.update(found)
                added += _insert(connection, tenant_id, suspect.rules, found)
    removed = 0
    for ids in _batches(call_ids):
        removed += _remove_others(engine, tenant_id, ids, standing)
    return Replaced(added, len(standing) - added, removed, unproven)


def forget_call(connection: sa.Connection, call_id: str) -> None:
    """Before a call is deleted: its findings go, and come back as far as their other calls prove them alone."""
    # An import that names the call at the same moment is either done, or finds it gone.
    connection.execute(sa.select(calls.c.id).where(calls.c.id == call_id).with_for_update())
    naming = sa.select(conduct_proofs.c.finding_id).where(conduct_proofs.c.call_id == call_id)
    rows = connection.execute(sa.select(conduct_findings).where(conduct_findings.c.id.in_(naming))).all()
    proofs = _proofs(connection, rows)
    for row in rows:
        connection.execute(sa.delete(conduct_findings).where(conduct_findings.c.id == row.id))
        rules = Rules.model_validate_json(row.judged_by)
        left = [call for call in proofs[row.id] if call.call_id != call_id]
        _insert(connection, row.tenant_id, rules, _judge(row.tenant_id, rules, left))


def page(engine: sa.Engine, wanted: Wanted, before: int | None, size: int) -> list[Kept]:
    """Latest first; `before` is the number of the last one of the page before this."""
    f, p = conduct_findings.c, conduct_proofs.c
    query = sa.select(conduct_findings).where(f.tenant_id == wanted.tenant_id).order_by(f.number.desc()).limit(size)
    if before is not None:
        query = query.where(f.number < before)
    if wanted.rule is not None:
        query = query.where(f.rule == wanted.rule)
    if wanted.borrower_ref is not None:
        query = query.where(f.borrower_ref == wanted.borrower_ref)
    for name in ("collector_id", "agency"):
        if (who := getattr(wanted, name)) is not None:
            query = query.where(sa.exists().where(p.finding_id == f.id, p[name] == who))
    if wanted.called_from is not None:
        query = query.where(f.last_at >= wanted.called_from)
    if wanted.called_before is not None:
        query = query.where(f.first_at < wanted.called_before)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        proofs = _proofs(connection, rows)
    return [_kept(row, proofs[row.id]) for row in rows]


def proven(engine: sa.Engine, tenant_id: str, called_from: datetime, called_before: datetime) -> Proven:
    """By what findings whose calls lie in this time, or reach into it."""
    f, p = conduct_findings.c, conduct_proofs.c
    then = (f.tenant_id == tenant_id, f.last_at >= called_from, f.first_at < called_before)
    rules: dict[str, Rule] = {}
    findings_of: Counter[str] = Counter()
    calls_of: dict[str, set[str]] = defaultdict(set)
    with engine.connect() as connection:
        counted = sa.select(f.judged_by, sa.func.count()).where(*then).group_by(f.judged_by)
        for judged_by, count in connection.execute(counted):
            (rule,) = Rules.model_validate_json(judged_by).rules
            rules[rule.id] = rule
            findings_of[rule.id] += count
        for name, call_id in connection.execute(sa.select(f.rule, p.call_id).where(*then, p.finding_id == f.id)):
            calls_of[name].add(call_id)
    return Proven(tuple(rules.values()), findings_of, calls_of)


def _there(connection: sa.Connection, tenant_id: str, suspects: Sequence[Call]) -> list[Call]:
    found: set[str] = set()
    for ids in _batches(call.call_id for call in suspects):
        # Nobody deletes them until the findings are written that name them.
        query = sa.select(calls.c.id).where(calls.c.tenant_id == tenant_id, calls.c.id.in_(ids))
        found.update(connection.execute(query.with_for_update(read=True, key_share=True)).scalars())
    return [call for call in suspects if call.call_id in found]


def _judge(tenant_id: str, rules: Rules, judged: Sequence[Call]) -> dict[str, tuple[Finding, list[Call]]]:
    """By id. The same calls that break the same rule are the same finding, whoever finds it again."""
    found = {}
    for finding in findings(judged, rules):
        text = "\n".join((tenant_id, _as_json(rules), finding.borrower_ref or "", *finding.calls))
        proving = set(finding.calls)
        found[str(uuid5(_NAMESPACE, text))] = (finding, [call for call in judged if call.call_id in proving])
    return found


def _insert(
    connection: sa.Connection, tenant_id: str, rules: Rules, found: dict[str, tuple[Finding, list[Call]]]
) -> int:
    """How many were not there yet."""
    known = set(
        connection.execute(sa.select(conduct_findings.c.id).where(conduct_findings.c.id.in_(list(found)))).scalars()
    )
    for name, (finding, proof) in found.items():
        if name in known:
            continue
        values = {
            "id": name,
            "tenant_id": tenant_id,
            "rule": finding.rule,
            "judged_by": _as_json(rules),
            "borrower_ref": finding.borrower_ref,
            "first_at": finding.first_at,
            "last_at": finding.last_at,
            "count": finding.count,
            "at_most": finding.limit,
        }
        connection.execute(sa.insert(conduct_findings).values(values))
        rows = [{"finding_id": name, **{column: getattr(call, column) for column in _PROOF}} for call in proof]
        connection.execute(sa.insert(conduct_proofs), rows)
    return len(found) - len(known)


def _remove_others(engine: sa.Engine, tenant_id: str, call_ids: list[str], standing: Collection[str]) -> int:
    f, p = conduct_findings.c, conduct_proofs.c
    query = sa.select(f.id).where(
        f.tenant_id == tenant_id, f.id.in_(sa.select(p.finding_id).where(p.call_id.in_(call_ids)))
    )
    removed = 0
    with engine.begin() as connection:
        stale = [name for name in connection.execute(query).scalars() if name not in standing]
        for ids in _batches(stale):
            removed += connection.execute(sa.delete(conduct_findings).where(f.id.in_(ids))).rowcount
    return removed


def _proofs(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> dict[str, tuple[Call, ...]]:
    p = conduct_proofs.c
    found: dict[str, tuple[Call, ...]] = defaultdict(tuple)
    borrowers = {row.id: row.borrower_ref for row in rows}
    for ids in _batches(borrowers):
        query = sa.select(conduct_proofs).where(p.finding_id.in_(ids)).order_by(p.called_at, p.call_id)
        for row in connection.execute(query):
            values = row._asdict()
            name = values.pop("finding_id")
            found[name] += (Call(**values, borrower_ref=borrowers[name], direction="outbound"),)
    return found


def _kept(row: sa.Row[Any], proof: tuple[Call, ...]) -> Kept:
    rules = Rules.model_validate_json(row.judged_by)
    (rule,) = rules.rules
    return Kept(
        number=row.number,
        id=row.id,
        rule=rule,
        time_zone=rules.zone(rule).key,
        borrower_ref=row.borrower_ref,
        first_at=row.first_at,
        last_at=row.last_at,
        count=row._mapping["count"],  # a row has a method of this name
        limit=row.at_most,
        calls=proof,
    )


def _as_json(rules: Rules) -> str:
    return rules.model_dump_json(by_alias=True)


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
