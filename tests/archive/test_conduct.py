from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.conduct import DEFAULT_RULES, BadRules, Call, Finding, Rules, findings, load_rules, unjudged

SHANGHAI = ZoneInfo("Asia/Shanghai")
RULES = load_rules()
ABROAD = RULES.model_copy(update={"jurisdictions": ("US",)})


def call(at: str, name: str = "", zone: ZoneInfo = SHANGHAI, **facts: Any) -> Call:
    told = Call(
        call_id=name or at,
        called_at=datetime.fromisoformat(at).replace(tzinfo=zone),
        borrower_ref="b-1",
        collector_id="c-1",
        agency="north",
        direction="outbound",
        duration_s=60,
        borrower_speech_s=10,
    )
    return replace(told, **facts)


def found(calls: list[Call], rule: str, rules: Any = RULES) -> list[Finding]:
    return [finding for finding in findings(calls, rules) if finding.rule == rule]


@pytest.mark.parametrize(
    ("at", "seconds", "night"),
    [
        ("2026-03-01 07:59:59", 1, True),
        ("2026-03-01 08:00:00", 60, False),
        ("2026-03-01 21:59:00", 60, False),
        ("2026-03-01 21:59:00", 61, True),
        ("2026-03-01 22:00:00", 0, True),
        ("2026-03-01 00:30:00", 60, True),
        ("2026-03-01 12:00:00", 3600, False),
    ],
)
def test_night_is_from_ten_to_eight_by_the_local_clock(at: str, seconds: float, night: bool) -> None:
    assert bool(found([call(at, duration_s=seconds)], "cn-call-hours")) is night
    elsewhere = replace(call(at, duration_s=seconds), called_at=call(at).called_at.astimezone(UTC))  # type: ignore[union-attr]
    assert bool(found([elsewhere], "cn-call-hours")) is night


def test_night_calls_are_let_pass_if_agreed_or_if_the_borrower_called() -> None:
    assert not found([call("2026-03-01 23:00", agreed_hours=True)], "cn-call-hours")
    assert not found([call("2026-03-01 23:00", direction="inbound")], "cn-call-hours")
    assert found([call("2026-03-01 23:00", borrower_ref=None)], "cn-call-hours")


def test_fourth_conversation_of_a_local_day_is_one_too_many() -> None:
    day = [call(f"2026-03-01 {hour:02d}:30") for hour in (9, 12, 15, 18)]
    (finding,) = found(day, "cn-conversations-a-day")
    assert (finding.count, finding.limit, finding.borrower_ref) == (4, 3, "b-1")
    assert finding.calls == tuple(c.call_id for c in day)
    assert finding.collectors == ("c-1",)
    assert not found(day[:3], "cn-conversations-a-day")
    # Across midnight of the place, though on one day in UTC.
    spread = [call(at) for at in ("2026-03-01 21:00", "2026-03-01 21:30", "2026-03-02 08:10", "2026-03-02 08:30")]
    assert not found(spread, "cn-conversations-a-day")


def test_attempts_are_no_conversations() -> None:
    day = [call(f"2026-03-01 {hour:02d}:30") for hour in (9, 12, 15)]
    for attempt in (
        call("2026-03-01 18:30", duration_s=19.9),
        call("2026-03-01 18:30", borrower_speech_s=0),
        call("2026-03-01 18:30", direction="inbound"),
        call("2026-03-01 18:30", direction=None),
    ):
        assert not found([*day, attempt], "cn-conversations-a-day")
    assert found([*day, call("2026-03-01 18:30", borrower_speech_s=0, unknown_speech_s=9)], "cn-conversations-a-day")


def test_calls_within_an_hour_are_one_finding_as_long_as_they_go_on() -> None:
    crowd = [call(f"2026-03-01 09:{minute:02d}") for minute in (0, 20, 40, 59)]
    later = [call(f"2026-03-01 15:{minute:02d}") for minute in (0, 10, 20)]
    first, second = found([*later, *crowd], "house-repeated-calls")
    assert (first.calls, first.count) == (tuple(c.call_id for c in crowd), 4)
    assert second.calls == tuple(c.call_id for c in later)
    assert not found(
        [call("2026-03-01 09:00"), call("2026-03-01 09:30"), call("2026-03-01 10:00")], "house-repeated-calls"
    )


def test_contacts_are_not_called_after_refusing() -> None:
    refusal = call("2026-03-01 09:00", contact="third_party", contact_refused=True)
    before, after = (call(f"2026-03-01 {at}", contact="third_party") for at in ("08:30", "15:00"))
    (finding,) = found([after, refusal, before], "cn-third-party-after-refusal")
    assert finding.calls == (refusal.call_id, after.call_id)
    assert not found([before, refusal, call("2026-03-01 16:00", contact="borrower")], "cn-third-party-after-refusal")


def test_rules_abroad_count_abroad() -> None:
    york = ZoneInfo("America/New_York")
    attempts = [call(f"2026-03-{day:02d} 12:00", zone=york, duration_s=5) for day in (1, 1, 2, 3, 4, 5, 6, 7)]
    (finding,) = found(attempts, "us-seven-in-seven", ABROAD)
    assert (finding.count, finding.limit) == (8, 7)
    assert not found([*attempts[:7], call("2026-03-08 12:00", zone=york)], "us-seven-in-seven", ABROAD)
    talk, soon = call("2026-03-01 12:00", zone=york), call("2026-03-07 12:00", zone=york, duration_s=5)
    (finding,) = found([talk, soon], "us-call-after-conversation", ABROAD)
    assert finding.calls == (talk.call_id, soon.call_id)
    assert not found([talk, call("2026-03-08 12:00", zone=york)], "us-call-after-conversation", ABROAD)
    # The clock goes forward on 2026-03-08 there: 21:00 stays 21:00.
    assert found([call("2026-03-08 20:59", zone=york, duration_s=120)], "us-call-hours", ABROAD)
    assert not found([call("2026-03-08 20:58", zone=york, duration_s=120)], "us-call-hours", ABROAD)
    assert not found(attempts, "us-seven-in-seven")


def test_what_the_rules_cannot_judge_is_counted() -> None:
    lacking = unjudged([Call("a"), call("2026-03-01 09:00")])
    assert lacking == Counter(called_at=1, borrower_ref=1, direction=1)


@given(st.lists(st.integers(0, 600), max_size=25))
def test_crowded_hours_are_those_that_counting_every_hour_finds(minutes: list[int]) -> None:
    start = datetime(2026, 3, 1, 9, tzinfo=SHANGHAI)
    calls = [
        replace(call("2026-03-01 09:00", str(i)), called_at=start + timedelta(minutes=m))
        for i, m in enumerate(sorted(minutes))
    ]
    told = found(calls, "house-repeated-calls")
    wanted = set()
    for first in calls:
        assert first.called_at
        near = [c for c in calls if c.called_at and timedelta() <= c.called_at - first.called_at < timedelta(hours=1)]
        if len(near) > 2:
            wanted |= {c.call_id for c in near}
    proofs = [name for finding in told for name in finding.calls]
    assert set(proofs) == wanted
    assert len(proofs) == len(set(proofs))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Asia/Shanghai", "Mars/Base", "no time zone"),
        ("at_most: 3", "at_most: -1", "at_most"),
        ("id: us-call-hours", "id: cn-call-hours", "two rules are called cn-call-hours"),
        ("minutes: 60", "minutes: 60\n    days: 1", "either minutes or days"),
        ("check: conversations_a_day", "check: sing", "check"),
        ("schema: 1", "schema: 2", "schema"),
        ("status: house", "status: sure", "status"),
        ('from: "22:00"', 'from: "25:00"', "from"),
        ('from: "22:00"', "from: 22:00", '1320 is no local time; write HH:MM within quotes, as "22:00"'),
        ('until: "08:00"', 'until: "08:00+08:00"', "until: Value error, '08:00+08:00' is no local time"),
        ("rules:", "rules: [", "not YAML"),
        ("effective:", "effektive:", "effective"),
    ],
)
def test_rules_that_cannot_be_used_are_told(tmp_path: Path, old: str, new: str, why: str) -> None:
    text = DEFAULT_RULES.read_text("utf8")
    assert old in text
    (tmp_path / "rules.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(BadRules) as told:
        load_rules(tmp_path / "rules.yaml")
    assert why in str(told.value)


def test_rules_kept_as_json_are_read_back() -> None:
    assert Rules.model_validate_json(RULES.model_dump_json(by_alias=True)) == RULES


def test_every_default_rule_names_its_source_and_status() -> None:
    for rule in RULES.rules:
        assert rule.source
        assert (rule.status == "house") == rule.id.startswith("house-")
