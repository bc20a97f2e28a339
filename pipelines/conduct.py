"""A borrower's calls -> findings of conduct that only several calls together show."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

DEFAULT_RULES = Path(__file__).with_name("conduct.yaml")


class BadRules(Exception):
    """A file of rules that cannot be used; the message names the rule and the field."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; name one as Asia/Shanghai") from None
    return name


Zone = Annotated[str, AfterValidator(_known_zone)]


def _clock_time(value: object) -> object:
    """YAML reads 22:00 without quotes as 1320, of which pydantic makes a time in UTC. Rules are kept with seconds."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?", value):
        raise ValueError(f'{value!r} is no local time; write HH:MM within quotes, as "22:00"')
    return value


ClockTime = Annotated[time, BeforeValidator(_clock_time)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Effective(_Part):
    """What makes a call a conversation."""

    at_least_s: float = Field(ge=0)
    borrower_speech_at_least_s: float = Field(ge=0)
    unknown_speech_counts: bool


class _Rule(_Part):
    id: str = Field(min_length=1, max_length=100, pattern=r"^[a-z0-9-]+$")
    title: str = Field(min_length=1)
    jurisdiction: str = Field(min_length=1)
    source: str = Field(min_length=1)
    status: Literal["read", "secondary", "house"]
    time_zone: Zone | None = None


class ForbiddenHours(_Rule):
    check: Literal["forbidden_hours"]
    begin: ClockTime = Field(alias="from")
    until: ClockTime
    unless_agreed: bool = False


class ConversationsADay(_Rule):
    check: Literal["conversations_a_day"]
    at_most: int = Field(ge=0)


class CallsWithin(_Rule):
    check: Literal["calls_within"]
    at_most: int = Field(ge=0)
    minutes: float | None = Field(default=None, gt=0)
    days: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_span(self) -> Self:
        if (self.minutes is None) == (self.days is None):
            raise ValueError("give either minutes or days")
        return self


class CallAfterConversation(_Rule):
    check: Literal["call_after_conversation"]
    days: int = Field(gt=0)


class ThirdPartyAfterRefusal(_Rule):
    check: Literal["third_party_after_refusal"]


Rule = Annotated[
    ForbiddenHours | ConversationsADay | CallsWithin | CallAfterConversation | ThirdPartyAfterRefusal,
    Field(discriminator="check"),
]


class Rules(_Part):
    version: Literal[1] = Field(alias="schema")
    time_zone: Zone
    jurisdictions: tuple[str, ...] = Field(min_length=1)
    effective: Effective
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        twice = [name for name, count in Counter(rule.id for rule in self.rules).items() if count > 1]
        if twice:
            raise ValueError(f"two rules are called {twice[0]}")
        return self

    @property
    def chosen(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.jurisdiction in self.jurisdictions)

    def zone(self, rule: _Rule) -> ZoneInfo:
        return ZoneInfo(rule.time_zone or self.time_zone)


@dataclass(frozen=True, slots=True)
class Call:
    """What the rules look at. `called_at` knows its offset; None: unknown."""

    call_id: str
    called_at: datetime | None = None
    borrower_ref: str | None = None
    collector_id: str | None = None
    agency: str | None = None
    direction: str | None = None
    contact: str | None = None
    contact_refused: bool = False
    agreed_hours: bool = False
    duration_s: float = 0.0
    borrower_speech_s: float = 0.0
    unknown_speech_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """`calls` prove it, in order of time; `count` is what the rule limits to `limit`."""

    rule: str
    borrower_ref: str | None
    collectors: tuple[str, ...]
    agencies: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    calls: tuple[str, ...]
    count: int
    limit: int | None


def load_rules(file: Path = DEFAULT_RULES) -> Rules:
    """Raises BadRules."""
    try:
        return Rules.model_validate(yaml.safe_load(file.read_text("utf8")))
    except OSError as error:
        raise BadRules(f"{file} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadRules(f"{file} is not YAML in UTF-8: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise BadRules(f"{file}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def findings(calls: Sequence[Call], rules: Rules) -> Iterator[Finding]:
    """Of one borrower, or of calls whose borrower is not known, which only the hours are judged of."""
    timed = sorted((c for c in calls if c.called_at and c.direction == "outbound"), key=lambda c: (_at(c), c.call_id))
    known = [call for call in timed if call.borrower_ref is not None]
    for rule in rules.chosen:
        judged = timed if isinstance(rule, ForbiddenHours) else known
        for proof, count in _proofs(rule, judged, rules):
            yield _finding(rule, proof, count)


def unjudged(calls: Iterable[Call]) -> Counter[str]:
    """How many calls lack what the rules need, by what they lack."""
    lacking: Counter[str] = Counter()
    for call in calls:
        lacking["called_at"] += call.called_at is None
        lacking["borrower_ref"] += call.borrower_ref is None
        lacking["direction"] += call.direction is None
    return lacking


def is_effective(call: Call, effective: Effective) -> bool:
    heard = call.borrower_speech_s + (call.unknown_speech_s if effective.unknown_speech_counts else 0.0)
    return call.duration_s >= effective.at_least_s and heard >= effective.borrower_speech_at_least_s


_Proof = tuple[Sequence[Call], int]


def _proofs(rule: Rule, calls: Sequence[Call], rules: Rules) -> Iterator[_Proof]:
    zone = rules.zone(rule)
    talked = [call for call in calls if is_effective(call, rules.effective)]
    match rule:
        case ForbiddenHours():
            for call in calls:
                if _at_night(call, rule, zone) and not (rule.unless_agreed and call.agreed_hours):
                    yield [call], 1
        case ConversationsADay():
            for _, of_day in groupby(talked, lambda call: _day(call, zone)):
                if len(found := list(of_day)) > rule.at_most:
                    yield found, len(found)
        case CallsWithin(minutes=None, days=int(days)):
            yield from _crowded(calls, lambda call: float(_day(call, zone).toordinal()), days, rule.at_most)
        case CallsWithin(minutes=float(minutes)):
            yield from _crowded(calls, lambda call: _at(call).timestamp(), minutes * 60, rule.at_most)
        case CallAfterConversation():
            yield from _too_soon(calls, {id(call) for call in talked}, rule.days, zone)
        case ThirdPartyAfterRefusal():
            yield from _after_refusal(calls)


def _at_night(call: Call, rule: ForbiddenHours, zone: ZoneInfo) -> bool:
    """Also if the call only ends there."""
    begin = _at(call).astimezone(zone)
    end = (_at(call) + timedelta(seconds=call.duration_s)).astimezone(zone)
    night = rule.begin <= begin.time() or begin.time() < rule.until
    if rule.begin < rule.until:
        night = rule.begin <= begin.time() < rule.until
    next_night = datetime.combine(begin.date(), rule.begin, zone)
    if next_night <= begin:
        next_night = datetime.combine(begin.date() + timedelta(days=1), rule.begin, zone)
    return night or end > next_night


def _crowded(
    calls: Sequence[Call], place: Callable[[Call], float], span: float, at_most: int
) -> Iterator[tuple[list[Call], int]]:
    """Stretches of time with more than `at_most` calls in less than `span`; those that overlap are one."""
    first, stretch, most = 0, [], 0  # type: int, list[int], int
    for last, call in enumerate(calls):
        while place(call) - place(calls[first]) >= span:
            first += 1
        if last - first + 1 <= at_most:
            continue
        if stretch and first > stretch[-1]:
            yield [calls[i] for i in stretch], most
            stretch, most = [], 0
        stretch += range(max(first, stretch[-1] + 1 if stretch else first), last + 1)
        most = max(most, last - first + 1)
    if stretch:
        yield [calls[i] for i in stretch], most


def _too_soon(calls: Sequence[Call], talked: set[int], days: int, zone: ZoneInfo) -> Iterator[_Proof]:
    """Each conversation with the calls that came too soon after it, until the next conversation."""
    proof: list[Call] = []
    for call in calls:
        if proof and (_day(call, zone) - _day(proof[0], zone)).days < days:
            proof.append(call)
        if id(call) in talked:
            if len(proof) > 1:
                yield proof, len(proof) - 1
            proof = [call]
    if len(proof) > 1:
        yield proof, len(proof) - 1


def _after_refusal(calls: Sequence[Call]) -> Iterator[_Proof]:
    contacts = [call for call in calls if call.contact == "third_party"]
    refused = next((place for place, call in enumerate(contacts) if call.contact_refused), None)
    if refused is not None and refused + 1 < len(contacts):
        yield contacts[refused:], len(contacts) - refused - 1


def _finding(rule: Rule, proof: Sequence[Call], count: int) -> Finding:
    return Finding(
        rule=rule.id,
        borrower_ref=proof[0].borrower_ref,
        collectors=tuple(sorted({call.collector_id for call in proof if call.collector_id})),
        agencies=tuple(sorted({call.agency for call in proof if call.agency})),
        first_at=_at(proof[0]),
        last_at=_at(proof[-1]),
        calls=tuple(call.call_id for call in proof),
        count=count,
        limit=getattr(rule, "at_most", None),
    )


def _at(call: Call) -> datetime:
    assert call.called_at  # judged are only calls with a time
    return call.called_at


def _day(call: Call, zone: ZoneInfo) -> date:
    return _at(call).astimezone(zone).date()
