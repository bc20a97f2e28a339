"""The way of a borrower through the pages, in a browser: from the first page to a checked bundle and the end."""

from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Page, Route

from models.call import Label, Speaker
from tests.borrowers.conftest import MadeCase, Site, Visitor
from tests.conftest import CALLS, Program, write_tone
from tests.lenders.conftest import Said
from tests.tabs import SIZES, Tabs, axe, until


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    """Twenty seconds with a voice on each channel."""
    soundfile.write(tmp_path / "call.wav", soundfile.read(CALLS / "late-first-job.ogg")[0][: 20 * 8000], 8000)
    return tmp_path / "call.wav"


def _listen(page: Page) -> None:
    page.click(".flagged .play >> nth=0")
    until(page, "document.querySelector('audio').currentTime > 8.2 && !document.querySelector('audio').paused")
    assert page.locator("#u2.playing").count() == 1
    page.click("[data-slower]")
    assert page.evaluate("document.querySelector('audio').playbackRate") < 1
    page.click(".flagged [data-loop-start] >> nth=0")
    page.evaluate("document.querySelector('audio').currentTime = 11.5")
    until(page, "document.querySelector('audio').currentTime < 9")
    page.evaluate("document.querySelector('audio').pause()")


def _correct_by_keyboard(page: Page) -> None:
    page.focus("#u0 a.edit")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("喂，您好，是周女士吗")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#u0 .history")
    assert "周女士" in page.inner_text("#u0 .said")
    assert "周先生" in (page.text_content("#u0 .history") or "")


def _take_letter(page: Page, file: Path) -> None:
    assert "再不还钱就打断你的腿" in page.input_value("#text")
    page.fill("#text", page.input_value("#text").replace("投诉人：（请填写）", "投诉人：周女士"))
    page.click("button[value=save]")
    page.wait_for_url("**saved=true")
    assert "投诉人：周女士" in page.input_value("#text")
    with page.expect_download() as letter:
        page.click("a[href$='letter.pdf']")
    letter.value.save_as(file)
    assert file.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("size", SIZES)
def test_journey_from_first_page_to_deleted_case(
    *, site: Site, tabs: Tabs, stereo: Path, tmp_path: Path, size: str, language: str
) -> None:
    tab = tabs(size, language, site.url, accept_downloads=True)
    page = tab.page

    look = tab.look
    page.goto(site.url)
    look("1-first")
    page.set_input_files("#file", stereo)
    page.fill("#called_on", "2026-03-05")
    page.fill("#called_time", "22:40")
    page.fill("#lender", "某某小贷 <b>שלום</b> 😀")
    page.click("form[data-upload] button[type=submit]")
    page.wait_for_url("**/case/*")
    look("2-case-and-code")
    digits = page.inner_text(".digits")
    made = MadeCase(Visitor(site.visitor().client), page.url.removeprefix(site.url), digits.replace(" ", ""))
    path = site.finish(
        made,
        Said("喂，您好，请问是周先生吗"),
        Said("是我，请问您是哪位", (), Speaker.BORROWER),
        Said("再不还钱就打断你的腿", (Label.THREAT,), score=0.95),
        Said("你这个骗子，不要脸", (Label.INSULT,), score=0.7),
        Said("我明天就打电话给你妈", (Label.THIRD_PARTY_CONTACT,), needs_review=True),
    )
    page.click("form[action$='/code/noted'] button")
    page.locator(".digits").wait_for(state="detached")
    page.click(".recordings a.primary")
    page.wait_for_url(f"**{path}")
    page.wait_for_load_state("networkidle")
    look("3-result")

    _listen(page)
    _correct_by_keyboard(page)
    look("4-corrected")
    with page.expect_download() as bundle:
        page.click("a[href$='evidence.zip']")
    bundle.value.save_as(tmp_path / "evidence.zip")
    page.click(f"a[href='{made.path}/letter'] >> nth=0")
    look("5-letter")
    _take_letter(page, tmp_path / "letter.pdf")
    page.click("a[href='/verify']")
    page.set_input_files("#file", tmp_path / "evidence.zip")
    page.click("button.primary")
    page.wait_for_selector("#result")
    look("6-verified")
    assert page.inner_text("#result") in ("证据包完整，没有被改动", "The bundle is whole and unchanged")
    page.goto(f"{site.url}/rules")
    look("7-rules")

    page.goto(site.url + made.path)
    page.click(f"a[href='{made.path}/delete']")
    look("8-delete")
    page.click("button.danger")
    page.wait_for_url("**/deleted")
    look("9-deleted")
    assert tab.complaints == []
    page.goto(site.url + made.path)
    look("10-gone")


def test_real_call_is_scored_while_the_page_tells_how_far_it_is(service: Program, tabs: Tabs) -> None:
    tab = tabs()
    tab.page.goto(service.url)
    tab.page.set_input_files("#file", CALLS / "mother-callback.amr")
    tab.page.click("form[data-upload] button[type=submit]")
    tab.page.wait_for_url("**/case/*")
    tab.page.wait_for_selector(".recordings a.primary", timeout=300_000)
    tab.page.click(".recordings a.primary")
    tab.page.wait_for_load_state("networkidle")
    assert tab.page.locator(".bubbles li").count() > 2
    assert tab.complaints == []


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Several pieces of an upload."""
    write_tone(tmp_path / "large.wav", 150)
    return tmp_path / "large.wav"


def test_upload_survives_a_dropped_connection(site: Site, tabs: Tabs, large: Path) -> None:
    tab = tabs()
    pieces: list[str] = []

    def drop_second(route: Route) -> None:
        pieces.append(route.request.headers["upload-offset"])
        if len(pieces) == 2:
            route.abort("connectionreset")
        else:
            route.continue_()

    tab.page.route("**/uploads/*", lambda r: drop_second(r) if r.request.method == "PATCH" else r.continue_())
    tab.page.goto(site.url)
    tab.page.set_input_files("#file", large)
    tab.page.click("form[data-upload] button[type=submit]")
    tab.page.wait_for_url("**/case/*")
    assert pieces[1] == pieces[2] != "0"  # once more from where it was, and not from the start
    assert pieces.count("0") == 1


def test_upload_goes_on_after_a_closed_tab(site: Site, tabs: Tabs, large: Path) -> None:
    tab = tabs()
    stop = {"after": 1}
    offsets: list[str] = []

    def limited(route: Route) -> None:
        if route.request.method == "PATCH":
            offsets.append(route.request.headers["upload-offset"])
            if len(offsets) > stop["after"]:
                route.abort("internetdisconnected")
                return
        route.continue_()

    context = tab.page.context
    context.route("**/uploads/*", limited)
    tab.page.goto(site.url)
    tab.page.set_input_files("#file", large)
    tab.page.click("form[data-upload] button[type=submit]")
    tab.page.wait_for_selector("[data-state]:has-text('网络断了')")
    tab.page.close()
    stop["after"] = 1000
    again = context.new_page()
    again.goto(site.url)
    again.set_input_files("#file", large)
    again.click("form[data-upload] button[type=submit]")
    again.wait_for_url("**/case/*")
    assert offsets.count("0") == 1


def test_double_click_and_back_button_make_one_case(site: Site, tabs: Tabs) -> None:
    page = tabs().page
    page.goto(site.url)
    page.set_input_files("#file", site.sound())
    page.dblclick("form[data-upload] button[type=submit]")
    page.wait_for_url("**/case/*")
    first = page.url
    page.go_back()
    page.go_forward()
    assert page.url == first
    assert page.locator(".recordings > li").count() == 1


def test_browser_finds_an_app_and_what_another_page_sends_it_ends_as_an_upload_does(site: Site, tabs: Tabs) -> None:
    tab = tabs("phone")
    page = tab.page
    page.goto(site.url)
    devtools = page.context.new_cdp_session(page)
    found = devtools.send("Page.getAppManifest")
    assert found["url"] == f"{site.url}/zh.webmanifest"
    assert found["errors"] == []
    assert found["manifest"]["shareTarget"]["action"] == f"{site.url}/share"
    # Where it says incognito, it is the tests' browser: nothing is missing of ours.
    missing = devtools.send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert {one["errorId"] for one in missing} <= {"in-incognito"}
    # From nowhere, as a phone's share comes; with the file's own name.
    page.goto("about:blank")
    page.set_content(
        f'<form action="{site.url}/share" method="post" enctype="multipart/form-data">\
<input type="file" name="file"><button>share</button></form>'
    )
    page.set_input_files("input", site.sound())
    page.click("button")
    page.wait_for_url("**/case/*")
    assert page.locator(".digits").count() == 1
    assert page.locator(".recordings > li").count() == 1
    assert tab.complaints == []


def test_pages_work_without_script(site: Site, tabs: Tabs) -> None:
    page = tabs("phone", java_script_enabled=False).page
    page.goto(site.url)
    page.set_input_files("#file", site.sound())
    page.click("form[data-upload] button[type=submit]")
    page.wait_for_url("**/case/*")
    digits = page.inner_text(".digits").replace(" ", "")
    made = MadeCase(Visitor(site.visitor().client), page.url.removeprefix(site.url), digits)
    site.finish(made, Said("您好"), Said("再不还钱就打断你的腿", (Label.THREAT,)))
    page.wait_for_selector(".recordings a.primary", timeout=15_000)  # it reloads by itself
    page.click(".recordings a.primary")
    page.click("#u1 a.edit")
    page.fill("#u1 textarea", "不还就打断你的腿")
    page.click("#u1 .correct button")
    assert page.inner_text("#u1 .said") == "不还就打断你的腿"


def test_wrong_code_is_told_and_the_right_one_opens(site: Site, tabs: Tabs) -> None:
    made = site.case()
    tab = tabs("phone")
    tab.page.goto(site.url + made.path)
    tab.shot("11-code")
    axe(tab.page)
    tab.page.fill("#code", "1")
    tab.page.click("main button")
    assert "还可以试9次" in tab.page.inner_text("[role=alert]")
    axe(tab.page)
    tab.page.fill("#code", made.code)
    tab.page.click("main button")
    assert tab.page.locator(".recordings > li").count() == 1
