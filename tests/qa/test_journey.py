"""The way of an analyst through the pages, in a browser: from the queue to a reviewed call, by keyboard alone."""

import csv
import json
import re

import pytest
from playwright.sync_api import Page

from models.call import Label, Speaker
from tests.lenders.conftest import Said
from tests.qa.conftest import Analyst, Office
from tests.tabs import SIZES, Tabs, Watched, until

THREAT, INSULT, THIRD = Label.THREAT, Label.INSULT, Label.THIRD_PARTY_CONTACT
TALK = (
    Said("喂，您好，请问是周先生吗"),
    Said("是我，请问您是哪位", (), Speaker.BORROWER),
    Said("再不还钱就打断你的腿", (THREAT,), score=0.95),
    Said("你们不能这样骂人", (), Speaker.BORROWER),
    Said("你这个骗子，不要脸", (INSULT,), score=0.7),
    Said("我明天就打电话给你妈，号码一六三零零一二三四五六", (THIRD,), needs_review=True, score=0.6),
)


def sign_in(tab: Watched, analyst: Analyst, url: str, path: str = "/qa") -> Page:
    tab.page.goto(url + path)
    tab.page.fill("#key", analyst.token)
    tab.page.click("button.primary")
    tab.page.wait_for_url(f"**{path}")
    return tab.page


def reviews(analyst: Analyst, call_id: str) -> list[tuple[int, str, list[str], str]]:
    """Utterance, kind, labels and note of all that is stored."""
    found = json.loads(analyst.rest("GET", f"/v1/calls/{call_id}/reviews").text)["reviews"]
    return [(one["utterance"], one["kind"], one["labels"], one["note"]) for one in found]


def saved(page: Page, words: str) -> None:
    until(page, f"document.querySelector('#status').textContent.includes({json.dumps(words)})")


def at(page: Page) -> str:
    return page.get_attribute(".bubbles > [aria-current]", "id") or ""


def hear_and_decide_by_keyboard(page: Page, analyst: Analyst, call_id: str, words: tuple[str, str, str]) -> None:
    """`words`: that the status line has for a threat, for a note, and for what is taken back."""
    assert at(page) == "u2"
    keys = page.keyboard
    keys.press("Space")
    until(page, "!document.querySelector('audio').paused && document.querySelector('audio').currentTime > 8.3")
    assert page.locator("#u2.playing").count() == 1
    keys.press("Space")
    until(page, "document.querySelector('audio').paused")
    before = page.evaluate("document.querySelector('audio').currentTime")
    keys.press("b")
    assert page.evaluate("document.querySelector('audio').currentTime") == pytest.approx(before - 3, abs=0.2)

    keys.press("1")
    saved(page, words[0])
    assert page.locator("#u2.decided").count() == 1
    keys.press("j")
    assert at(page) == "u4"
    until(page, "document.querySelector('audio').currentTime >= 16")
    keys.press("Space")
    keys.press("n")
    keys.insert_text("语气很重，1234 jku")  # no shortcut while one writes
    keys.press("Control+Enter")
    saved(page, words[1])
    keys.press("Shift+Digit1")
    until(page, "document.querySelector('#u4').dataset.labels === 'threat insult'")
    keys.press("j")
    assert at(page) == "u5"
    keys.press("4")
    until(page, "document.querySelector('#u5').dataset.labels === ''")
    keys.press("u")
    saved(page, words[2])
    until(page, "document.querySelector('#u5').dataset.labels === 'third_party_contact'")
    assert reviews(analyst, call_id) == [
        (2, "review", ["threat"], ""),
        (4, "note", [], "语气很重，1234 jku"),
        (4, "review", ["threat", "insult"], ""),
        (5, "review", [], ""),
        (5, "withdrawal", [], ""),
    ]


def take_what_was_reviewed(page: Page, analyst: Analyst) -> None:
    page.click("nav a[href='/qa/dashboard']")
    with page.expect_download() as taken:
        page.click("a[href*='/reviews.csv']")
    rows = list(csv.reader(taken.value.path().read_text("utf-8-sig").splitlines()))
    assert rows[1][1:4] == ["1", "1", "1"]  # of threats: found, reviewed, confirmed
    exported = [json.loads(line) for line in analyst.rest("GET", "/v1/reviews/export").text.splitlines()]
    assert {row["text"]: row["labels"] for row in exported} == {
        TALK[2].text: ["threat"],
        TALK[4].text: ["threat", "insult"],
    }


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("size", SIZES)
def test_journey_from_queue_to_reviewed_call(office: Office, tabs: Tabs, size: str, language: str) -> None:
    mild = office.call(Said("老赖", (INSULT,), score=0.55), collector_id="c-3", agency="south")
    call_id = office.call(*TALK, collector_id="c-17 <b>שלום</b> 😀", agency="north")
    analyst = office.analyst()
    tab = tabs(size, language, office.program.url)
    page = tab.page
    page.goto(f"{office.program.url}/qa?label=flagged")
    tab.look("1-sign-in")
    page.fill("#key", analyst.token)
    page.keyboard.press("Enter")
    page.wait_for_url("**/qa?label=flagged")
    assert page.locator(".queue > li").count() == 2
    page.fill("#name", "全部标出 all flagged")
    page.press("#name", "Enter")
    page.wait_for_selector("[role=status].notice")
    tab.look("2-queue")
    page.click(".queue .quote a >> nth=0")
    page.wait_for_url(f"**/calls/{call_id}?*")
    page.wait_for_load_state("networkidle")
    tab.look("3-call")
    zh = language == "zh"
    words = ("威胁恐吓", "备注已保存", "已撤销") if zh else ("threat", "note is saved", "Undone")
    hear_and_decide_by_keyboard(page, analyst, call_id, words)
    page.wait_for_timeout(100)
    tab.look("4-decided")
    page.click("#u0 [data-pick]")
    assert at(page) == "u0"
    page.click("#u0 button[value=insult]")
    until(page, "document.querySelector('#u0').dataset.labels === 'insult'")
    page.click("#u0 .reviews button")
    until(page, "document.querySelector('#u0').dataset.labels === ''")
    page.keyboard.press("m")
    page.wait_for_url(f"**/calls/{mild}?*")
    page.wait_for_load_state("networkidle")
    take_what_was_reviewed(page, analyst)
    page.click(".sign-out button")
    page.wait_for_url("**/qa/sign-in")
    assert tab.complaints == []


def test_another_reviewers_decision_is_told_before_anything_is_saved(office: Office, tabs: Tabs) -> None:
    call_id = office.call(*TALK)
    mine, theirs = office.analyst(), office.analyst()
    page = sign_in(tabs(), mine, office.program.url, f"/qa/calls/{call_id}")
    theirs.post(f"/qa/calls/{call_id}/utterances/2/reviews", save="compliant", note="开玩笑")
    page.keyboard.press("1")
    saved(page, "还没有保存")
    assert "开玩笑" in page.inner_text("#u2 .reviews")
    assert len(reviews(mine, call_id)) == 1
    page.keyboard.press("1")
    saved(page, "已保存")
    assert [labels for _, _, labels, _ in reviews(mine, call_id)] == [[], ["threat"]]


def test_news_spare_what_is_being_written(office: Office, tabs: Tabs) -> None:
    call_id = office.call(*TALK)
    mine, theirs = office.analyst(), office.analyst()
    tab = tabs()
    tab.page.clock.install()
    page = sign_in(tab, mine, office.program.url, f"/qa/calls/{call_id}")
    page.keyboard.press("n")
    page.keyboard.insert_text("我还在写")
    theirs.post(f"/qa/calls/{call_id}/utterances/2/reviews", save="insult")
    theirs.post(f"/qa/calls/{call_id}/utterances/0/reviews", save="insult")
    mine.post(f"/qa/calls/{call_id}/utterances/4/reviews", save="insult")  # later than what is news
    page.clock.run_for(11_000)
    page.wait_for_selector("#u0.decided")
    page.clock.run_for(200)
    saved(page, "刚才审定了")
    assert page.input_value("#note-2") == "我还在写"
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#u2 .note")
    assert reviews(mine, call_id)[-1] == (2, "note", [], "我还在写")


def test_what_could_not_be_saved_is_told_and_stays(office: Office, tabs: Tabs) -> None:
    call_id = office.call(*TALK)
    analyst = office.analyst()
    tab = tabs("phone")
    page = sign_in(tab, analyst, office.program.url, f"/qa/calls/{call_id}")
    page.fill("#note-2", "还没有保存的备注")
    page.context.set_offline(True)
    page.click("#u2 button[value=threat]")
    saved(page, "连不上服务")
    page.context.set_offline(False)
    page.context.clear_cookies()
    page.click("#u2 button[value=threat]")
    saved(page, "登录已经结束")
    assert page.input_value("#note-2") == "还没有保存的备注"
    assert reviews(analyst, call_id) == []


def test_shortcuts_can_be_switched_off(office: Office, tabs: Tabs) -> None:
    call_id = office.call(*TALK)
    analyst = office.analyst()
    page = sign_in(tabs(), analyst, office.program.url, f"/qa/calls/{call_id}")
    page.click(".keys summary")
    page.click("[data-do=keys]")
    page.reload()
    for key in ("1", "j", "u"):
        page.keyboard.press(key)
    assert at(page) == "u2"
    assert page.evaluate("document.querySelector('audio').paused")
    assert reviews(analyst, call_id) == []


def test_pages_work_without_script(office: Office, tabs: Tabs) -> None:
    call_id = office.call(*TALK)
    analyst = office.analyst()
    page = sign_in(tabs("phone", java_script_enabled=False), analyst, office.program.url)
    page.click(".queue .quote a")
    page.click("#u4 a.pick")
    page.fill("#u4 textarea", "没有脚本也行")
    page.click("#u4 button[value=threat]")
    page.wait_for_url(re.compile(r"at=4"))
    assert "没有脚本也行" in page.inner_text("#u4 .reviews")
    page.click("#u4 .several summary")
    page.check("#u4 input[name=kind_insult]")
    page.click("#u4 button[value=several]")
    page.click("#u4 .reviews button")
    assert [(index, kind, labels) for index, kind, labels, _ in reviews(analyst, call_id)] == [
        (4, "review", ["threat"]),
        (4, "review", ["threat", "insult"]),
        (4, "withdrawal", []),
    ]
