"""A tenant's calls of some weeks -> the figures of the dashboard."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from app import conduct, own_conduct, reviews
from app.calls import Status
from app.confirmations import Confirmation, confirmations
from app.own_conduct import Judged
from app.pages import CHINA
from app.qa.charts import Rate
from app.reviews import Agreement
from app.scorecards import By, Scorecard, scorecards
from app.tables import calls
from models.call import KINDS, Label
from pipelines.call_times import EARLIEST_CALL, latest_call
from pipelines.conduct import Call, ConversationsADay, ForbiddenHours, Rule, Rules, is_effective

_USUAL_WEEKS = 13
_AT_ONCE = 200
_BY: tuple[By, ...] = ("collector_id", "agency", "tenant_id")
_HOURS = 24
_MANY = 6  # conversations on a day, and more, are counted together


@dataclass(frozen=True, slots=True)
class Period:
    """Both days are included; they are days in China."""

    first: date
    last: date

    @property
    def called_from(self) -> datetime:
        return datetime.combine(self.first, time(), CHINA)

    @property
    def called_before(self) -> datetime:
        return datetime.combine(self.last, time(), CHINA) + timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Fare:
    """How calls of one collector, agency or kind fare."""

    rate: Rate
    kinds: Mapping[Label, int]
    reviewed: int
    confirmed: int


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule, and the calls that prove that it was broken. `imported`: as archives found it."""

    rule: Rule
    own_findings: int
    own_calls: int
    imported_findings: int
    imported_calls: int
    calls: int  # each once, also where both found it


@dataclass(frozen=True, slots=True)
class Conduct:
    """`hours`: calls that collectors started, by the hour; `days`: borrowers' days, by conversations on them.

    Each with whether the rule forbids it. Empty where no such rule is chosen.
    """

    broken: tuple[Broken, ...]
    hours: tuple[tuple[str, int, bool], ...]
    days: tuple[tuple[str, int, bool], ...]
    zone: str
    judged: int
    unjudged: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Figures:
    period: Period
    total: Rate
    collectors: tuple[Fare, ...]
    agencies: tuple[Fare, ...]
    weeks: tuple[Rate, ...]
    kinds: tuple[Rate, ...]
    heard: Mapping[Label, Confirmation]
    agreement: Agreement
    conduct: Conduct


def usual_period(engine: sa.Engine, tenant_id: str) -> Period | None:
    """The weeks up to the newest call; None without calls. A date that cannot be true is no newest call."""
    believed = calls.c.called_at.between(datetime.combine(EARLIEST_CALL, time.min, CHINA), latest_call())
    mine = (calls.c.tenant_id == tenant_id, calls.c.status == str(Status.DONE), believed)
    with engine.connect() as connection:
        newest = connection.execute(sa.select(sa.func.max(calls.c.called_at)).where(*mine)).scalar()
    if newest is None:
        return None
    last = newest.astimezone(CHINA).date()
    monday = last - timedelta(days=last.weekday())
    return Period(monday - timedelta(weeks=_USUAL_WEEKS - 1), last)


def figures(engine: sa.Engine, tenant_id: str, period: Period, rules: Rules) -> Figures:
    by_collector, by_agency, together = (_cards(engine, tenant_id, by, period) for by in _BY)
    (whole,) = together or [Scorecard("", 0, 0.0, 0, dict.fromkeys(KINDS, 0), 0, 0, ())]
    return Figures(
        period=period,
        total=Rate("", whole.flagged, whole.calls),
        collectors=_worst_first(by_collector),
        agencies=_worst_first(by_agency),
        weeks=_weeks(whole),
        kinds=tuple(Rate(kind, whole.by_kind[kind], whole.calls) for kind in KINDS),
        heard=confirmations(engine, tenant_id, called_from=period.called_from, called_before=period.called_before),
        agreement=reviews.agreement(engine, tenant_id),
        conduct=_conduct(engine, tenant_id, period, rules),
    )


def _cards(engine: sa.Engine, tenant_id: str, by: By, period: Period) -> list[Scorecard]:
    found: list[Scorecard] = []
    then = {"called_from": period.called_from, "called_before": period.called_before}
    while page := scorecards(engine, tenant_id, by, **then, after=found[-1].name if found else None, size=_AT_ONCE):
        found += page
    return found


def _worst_first(cards: Iterable[Scorecard]) -> tuple[Fare, ...]:
    """By the lower end of the interval, so that one bad call puts nobody at the top."""
    fares = [Fare(Rate(c.name, c.flagged, c.calls), c.by_kind, c.reviewed, c.confirmed) for c in cards]
    return tuple(sorted(fares, key=lambda fare: (-fare.rate.interval[0], -fare.rate.of, fare.rate.name)))


def _weeks(whole: Scorecard) -> tuple[Rate, ...]:
    """Without gaps: a week without calls is a rate of nothing."""
    known = {week.monday: week for week in whole.weeks}
    if not known:
        return ()
    span = (max(known) - min(known)).days // 7 + 1
    mondays = [min(known) + timedelta(weeks=place) for place in range(span)]
    return tuple(
        Rate(monday.isoformat(), known[monday].flagged, known[monday].calls)
        if monday in known
        else Rate(monday.isoformat(), 0, 0)
        for monday in mondays
    )


def _conduct(engine: sa.Engine, tenant_id: str, period: Period, rules: Rules) -> Conduct:
    own = own_conduct.judge_own(engine, tenant_id, rules, period.called_from, period.called_before)
    imported = conduct.proven(engine, tenant_id, period.called_from, period.called_before)
    known = {rule.id: rule for rule in rules.chosen} | {rule.id: rule for rule in imported.rules}
    hours = next((rule for rule in rules.chosen if isinstance(rule, ForbiddenHours)), None)
    days = next((rule for rule in rules.chosen if isinstance(rule, ConversationsADay)), None)
    started = [call for call in own.calls if call.direction == "outbound" and call.called_at]
    broken = []
    for name, rule in known.items():
        mine = [finding.calls for finding in own.findings if finding.rule == name]
        proofs = {call for proof in mine for call in proof}
        theirs = imported.calls.get(name, ())
        if mine or theirs or rule in rules.chosen:
            broken.append(
                Broken(
                    rule, len(mine), len(proofs), imported.findings.get(name, 0), len(theirs), len(proofs | set(theirs))
                )
            )
    judging = hours or days
    zone = rules.zone(judging) if judging else ZoneInfo(rules.time_zone)
    return Conduct(
        broken=tuple(broken),
        hours=_by_hour(own, started, hours, zone) if hours else (),
        days=_by_conversations(started, rules, days) if days else (),
        zone=zone.key,
        judged=len(started),
        unjudged=own.unjudged,
    )


def _by_hour(
    own: Judged, started: Sequence[Call], rule: ForbiddenHours, zone: ZoneInfo
) -> tuple[tuple[str, int, bool], ...]:
    counted = Counter(call.called_at.astimezone(zone).hour for call in started if call.called_at)
    return tuple((f"{hour:02d}", counted[hour], _forbidden(rule, hour)) for hour in range(_HOURS))


def _forbidden(rule: ForbiddenHours, hour: int) -> bool:
    """Any part of the hour."""
    begin, end = time(hour), time(hour, 59, 59)
    if rule.begin < rule.until:
        return begin < rule.until and end >= rule.begin
    return begin < rule.until or end >= rule.begin


def _by_conversations(
    started: Sequence[Call], rules: Rules, rule: ConversationsADay
) -> tuple[tuple[str, int, bool], ...]:
    zone = rules.zone(rule)
    held = Counter(
        (call.borrower_ref, call.called_at.astimezone(zone).date())
        for call in started
        if call.called_at and call.borrower_ref is not None and is_effective(call, rules.effective)
    )
    most = max(_MANY, rule.at_most + 1)
    counted = Counter(min(count, most) for count in held.values())
    return tuple(
        (f"{count}+" if count == most else str(count), counted[count], count > rule.at_most)
        for count in range(1, most + 1)
    )
