"""What the dashboard counts is what happened, for those who see it, hear it, print it or load it into a spreadsheet."""

import csv
import io
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from app import calls
from app.conduct import Suspect, replace_findings, single
from app.config import CannotStart, Settings
from app.qa import charts
from app.qa.charts import Rate
from app.qa.dashboard import read_conduct_rules
from app.qa.dashboard_tables import Reader, as_csv
from app.tables import calls as rows
from app.words import Language, read_words
from models.call import Label, Speaker
from pipelines.conduct import Call, load_rules
from pipelines.intervals import wilson
from tests.lenders.conftest import Said, report
from tests.qa.conftest import Analyst, House, Office
from tests.tabs import SIZES, Tabs

RULES = load_rules()
THREAT = Said("不还就打断你的腿", (Label.THREAT,))
TALK = [Said("您好"), Said("我在开会", (), Speaker.BORROWER)] * 3
FORMULA = '=HYPERLINK("http://evil.example","看")'


def made(office: Office, at: str, *said: Said, **who: Any) -> str:
    """A done call of 24 s or more at this time in China, started by the collector."""
    called_at = datetime.fromisoformat(f"{at}+08:00")
    details = {"direction": "outbound", "called_at": called_at.isoformat(), **who}
    call_id, sha256 = str(uuid4()), uuid4().hex * 2
    new = calls.NewCall(
        id=call_id,
        tenant_id=office.id,
        key_prefix=None,
        sender="test",
        recording_sha256=sha256,
        recording_bytes=1,
        media_type="audio/wav",
        details=json.dumps({name: value for name, value in details.items() if value is not None}),
        collector_id=who.get("collector_id"),
        agency=who.get("agency"),
        collector_channel=None,
        called_at=called_at,
    )
    calls.accept(office.database, new, lambda: None, lambda _connection, _call_id: None)
    attempt = calls.begin(office.database, call_id)
    assert attempt
    assert calls.finish(office.database, attempt, report([*TALK, *said], sha256))
    return call_id


@dataclass
class Seen:
    office: Office
    analyst: Analyst
    night: list[str]
    calls: list[str] = field(default_factory=list)

    def table(self, name: str, period: str = "") -> list[list[str]]:
        answer = self.analyst.get(f"/qa/dashboard/{name}.csv{period}", headers={"cookie": self.cookies("en")})
        assert answer.status_code == 200, answer.text
        return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"))))

    def page(self, query: str = "", language: str = "en") -> str:
        answer = self.analyst.get(f"/qa/dashboard{query}", headers={"cookie": self.cookies(language)})
        assert answer.status_code == 200, answer.text
        return answer.text

    def cookies(self, language: str) -> str:
        return "; ".join([f"language={language}", *(f"{k}={v}" for k, v in self.analyst.client.cookies.items())])


@pytest.fixture(scope="module")
def seen(house: House) -> Seen:
    """Two collectors over three weeks, the middle one without calls; one night call; one busy day of a borrower."""
    office = house.office()
    first = house.office().analyst()
    analyst = office.analyst()
    other = office.analyst()
    assert first.token != analyst.token
    told = [made(office, f"2026-03-0{day} 10:00", THREAT, collector_id="c-1", agency="north") for day in (2, 3, 4)]
    told += [made(office, f"2026-03-02 1{hour}:30", collector_id=FORMULA, borrower_ref="b-1") for hour in range(4)]
    night = [made(office, "2026-03-16 23:30", collector_id="c-1", agency="north", borrower_ref="b-2")]
    made(office, "2026-03-17 23:30", collector_id="c-1", agency="north", borrower_ref="b-3", agreed_hours=True)
    made(office, "2026-03-18 23:30", collector_id="c-1", direction=None)
    for call_id, one, verdict in (
        (told[0], analyst, "confirm"),
        (told[0], other, "confirm"),
        (told[1], analyst, "reject"),
    ):
        path = f"/v1/calls/{call_id}/utterances/{len(TALK)}/reviews"
        assert one.rest("POST", path, json={"verdict": verdict}).status_code == 201
    return Seen(office, analyst, night, told)


def test_figures_are_counted_as_people_decided(seen: Seen) -> None:
    head, *rows = seen.table("collectors")
    assert head[:6] == ["Collector", "Calls", "Flagged", "Share flagged", "95 % from", "95 % to"]
    assert [row[0] for row in rows] == ["c-1", f"'{FORMULA}"]
    low, high = wilson(2, 6)
    assert rows[0][1:3] == ["6", "2"]
    assert [float(cell) for cell in rows[0][3:6]] == pytest.approx([2 / 6, low, high], abs=1e-5)
    assert rows[0][6:] == ["2", "0", "0", "2", "1"]
    assert [row[:3] for row in seen.table("agencies")[1:]] == [["north", "5", "2"]]
    assert [row[:3] for row in seen.table("weeks")[1:]] == [
        ["2026-03-02", "7", "2"],
        ["2026-03-09", "0", "0"],
        ["2026-03-16", "3", "0"],
    ]
    assert seen.table("kinds")[1][:3] == ["threat", "10", "2"]
    assert seen.table("reviews")[1] == ["threat", "3", "2", "1", "0"]
    assert seen.table("agreement")[1][:2] == ["1", "1"]
    page = seen.page()
    assert "10 calls, of which 2 hold abuse" in page
    assert "33.3% (2/6)" in page
    assert "two reviewers heard on their own: 1; to 1 of them they gave the same label." in page


def test_what_people_found_and_took_back_is_told_apart(house: House) -> None:
    office = house.office()
    analyst, other = office.analyst(), office.analyst()
    call_id = made(office, "2026-03-02 10:00", THREAT, Said("老赖", (Label.INSULT,)))

    def decide(who: Analyst, utterance: int, **sent: Any) -> None:
        path = f"/v1/calls/{call_id}/utterances/{utterance}/reviews"
        assert who.rest("POST", path, json=sent).status_code == 201

    decide(analyst, 0, verdict="correct", labels=["threat"])  # the model found nothing there
    decide(analyst, 1, verdict="correct", labels=["insult"])  # a borrower's words never count
    decide(analyst, len(TALK), verdict="reject")
    decide(other, len(TALK), verdict="confirm")  # who decides last decides
    decide(analyst, len(TALK) + 1, verdict="confirm")
    decide(analyst, len(TALK) + 1, kind="withdrawal")
    table = Seen(office, analyst, []).table("reviews")
    assert table[1:3] == [["threat", "1", "1", "1", "1"], ["insult", "1", "0", "0", "0"]]


def test_conduct_is_judged_by_the_rules_and_joined_with_what_was_imported(seen: Seen) -> None:
    def of(rule: str) -> list[str]:
        return next(row for row in seen.table("conduct") if row[0] == rule)[2:7]

    night, day = "Collection at night", "More than three conversations with a borrower on a day"
    assert of(night) == ["1", "1", "0", "0", "1"]  # one was agreed, and of one it is not known who started it
    assert of(day) == ["1", "4", "0", "0", "4"]
    hours = {row[0]: row[1:] for row in seen.table("hours")[1:]}
    assert (hours["10"], hours["23"], hours["12"]) == (["4", "no"], ["2", "yes"], ["1", "no"])
    assert [name for name, (_, forbidden) in hours.items() if forbidden == "yes"] == [
        *(f"{hour:02d}" for hour in range(8)),
        "22",
        "23",
    ]
    assert seen.table("days")[1:] == [
        ["1", "2", "no"],
        ["2", "0", "no"],
        ["3", "0", "no"],
        ["4", "1", "yes"],
        ["5", "0", "yes"],
        ["6+", "0", "yes"],
    ]
    facts = {"borrower_ref": "b-2", "collector_id": "c-1", "direction": "outbound", "duration_s": 24.0}
    at = datetime(2026, 3, 16, 15, 30, tzinfo=UTC)
    alone = Call(call_id=seen.night[0], called_at=at, **facts)  # type: ignore[arg-type]
    more = Call(call_id=seen.calls[0], called_at=at + timedelta(hours=1), **facts)  # type: ignore[arg-type]
    suspects = [Suspect((alone, more), single(RULES, "cn-call-hours"))]
    kept = replace_findings(seen.office.database, seen.office.id, suspects, [])
    assert kept.added == 2
    assert of(night) == ["1", "1", "2", "2", "2"]  # the call that both found counts once
    page = seen.page()
    assert f'href="/qa/calls/{seen.night[0]}"' in page
    assert "2026-03-16 23:30" in page
    assert "Without word of who started them, and not judged: 1." in page
    replace_findings(seen.office.database, seen.office.id, [], [alone.call_id, more.call_id])
    assert of(night) == ["1", "1", "0", "0", "1"]


def test_days_are_chosen_and_what_is_no_day_is_told(seen: Seen) -> None:
    few = "?from=2026-03-03&until=2026-03-04"
    assert [row[:3] for row in seen.table("collectors", few)[1:]] == [["c-1", "2", "1"]]
    assert "2 calls, of which 1 hold abuse" in seen.page(few)
    assert "No call was made in these days." in seen.page("?from=2025-01-01&until=2025-01-02")
    for query in ("?from=soon", "?until=2026-02-30", "?from=2026-03-04&until=2026-03-03", "?from=0001-01-01"):
        page = seen.page(query)
        assert "The dates were not understood" in page
        assert "10 calls, of which 2 hold abuse" in page


def test_call_of_a_day_to_come_breaks_no_page_and_moves_no_period(house: House) -> None:
    office = house.office()
    analyst = office.analyst()
    made(office, "2026-03-02 10:00", THREAT, collector_id="c-1")
    late = [made(office, f"{year}-12-31 23:59", THREAT, collector_id="c-1") for year in (2062, 9999)]
    # The last moment of the calendar in UTC is no moment in China.
    end = {"direction": "outbound", "called_at": "9999-12-31T23:59:59Z"}
    with office.database.begin() as connection:
        changed = sa.update(rows).where(rows.c.id == late[1])
        at = datetime.fromisoformat(end["called_at"])
        connection.execute(changed.values(called_at=at, details=json.dumps(end)))
    head, *counted = Seen(office, analyst, []).table("collectors")
    assert (head[1], [row[1] for row in counted]) == ("Calls", ["1"])
    for path in (f"/qa/calls/{late[1]}", "/qa", "/qa/dashboard", "/qa/dashboard?until=2999-12-31"):
        assert analyst.get(path).status_code == 200, path
    assert "9999-12-31 23:59" in analyst.get(f"/qa/calls/{late[1]}").text
    assert analyst.rest("GET", f"/v1/calls/{late[1]}").json()["metadata"]["called_at"] == end["called_at"]
    assert len(analyst.rest("GET", "/v1/calls").json()["calls"]) == 3


def test_page_holds_no_more_than_it_may(seen: Seen) -> None:
    for language in ("zh", "en"):
        page = seen.page(language=language)
        assert len(page.encode()) < 100_000
        assert not re.search(r"<script|\sstyle=|\son\w+=", page)
        assert "=HYPERLINK(&#34;" in page
        for chart in re.findall(r"<svg class=\"chart\".*?</svg>", page, re.DOTALL):
            assert 'role="img"' in chart
            assert "aria-label=" in chart


def test_other_tenants_and_strangers_see_nothing_of_it(seen: Seen, house: House) -> None:
    stranger = seen.office.analyst(signed_in=False)
    for path in ("/qa/dashboard", "/qa/dashboard/collectors.csv"):
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["location"][:12]) == (303, "/qa/sign-in?")
    elsewhere = house.office().analyst()
    assert "no call is done" in elsewhere.get("/qa/dashboard", headers={"accept-language": "en"}).text or (
        "没有处理完的通话" in elsewhere.get("/qa/dashboard").text
    )
    table = elsewhere.get("/qa/dashboard/collectors.csv").content.decode("utf-8-sig")
    assert len(table.splitlines()) == 1
    assert elsewhere.get("/qa/dashboard/secrets.csv").status_code == 404


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "－1", "\n=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    (row,) = csv.reader(io.StringIO(as_csv([[text, "a=b", -0.25, 3, None]]).decode("utf-8-sig"), newline=""))
    assert row == [f"'{text}", "a=b", "-0.25", "3", ""]


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 500)), min_size=1, max_size=30))
def test_marks_lie_within_their_chart_in_their_order(counts: list[tuple[int, int]]) -> None:
    rates = [Rate("催收员" * 20, min(hits, of), of) for hits, of in counts]
    whole = Rate("", sum(rate.hits for rate in rates), sum(rate.of for rate in rates))
    forest = charts.forest(rates, whole)
    for row in forest.rows:
        marks = [round(mark, 6) for mark in (0.0, row.low, row.middle, row.high, charts.WIDTH)]
        assert marks == sorted(marks)
        assert row.y < forest.height
        assert row.short.endswith("…")
    assert 0 <= forest.overall <= charts.WIDTH
    assert 2 <= len(forest.ticks) <= 6
    drawn = charts.weeks([*rates, Rate("2026-03-09", 0, 0)])
    for week in drawn.points:
        if week.rate.of:
            assert 0 <= week.high <= week.middle + 1e-9 <= week.low + 1e-6 <= drawn.height
            assert 0 <= week.x <= charts.WIDTH
    assert len(drawn.line.split()) == len(rates)
    bars = charts.bars([(str(hits), hits, hits > 3) for hits, _ in counts])
    for bar in bars.bars:
        assert bar.y >= 0
        assert bar.y + bar.height == pytest.approx(bars.base)


def test_rule_that_somebody_changed_says_what_they_wrote() -> None:
    reader = Reader(read_words("app.qa", Language.ZH), RULES.rules)
    shipped = next(rule for rule in RULES.rules if rule.id == "cn-conversations-a-day")
    changed = shipped.model_copy(update={"at_most": 5, "title": "More than five"})
    assert reader.title(shipped) == "一天内与同一借款人有效通话超过三次"
    assert (reader.title(changed), reader.source(changed)) == ("More than five", shipped.source)


def test_rules_that_cannot_be_used_keep_the_service_from_starting(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("schema: 1")
    with pytest.raises(CannotStart, match="CALLAUDIT_CONDUCT_RULES: "):
        read_conduct_rules(FastAPI(), Settings(conduct_rules=file))


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("size", SIZES)
def test_dashboard_is_whole_in_a_browser(seen: Seen, tabs: Tabs, size: str, language: str) -> None:
    url = seen.office.program.url
    tab = tabs(size, language, url)
    page = tab.page
    page.context.add_cookies(
        [{"name": name, "value": value, "url": url} for name, value in seen.analyst.client.cookies.items()]
    )
    page.goto(f"{url}/qa/dashboard")
    assert page.locator("svg.chart").count() == 7
    assert page.evaluate("getComputedStyle(document.querySelector('.chart .whisker')).strokeWidth") == "2px"
    texts = "[...document.querySelectorAll('.chart text')].map(t => t.getBoundingClientRect())"
    assert page.evaluate(f"{texts}.every(box => box.left >= 0 && box.right <= innerWidth)")
    page.click("summary >> nth=0")
    assert page.locator("table >> nth=0").is_visible()
    tab.look("dashboard")
    assert tab.complaints == []
