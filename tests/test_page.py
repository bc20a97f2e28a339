"""The page of a scored call, as a browser shows it from a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.page import call, render
from models.call import KINDS, Finding, Judgement, Label, Speaker, Utterance
from pipelines.decode import decode
from pipelines.report import Report
from tests.browser import Page, browser
from tests.conftest import CALLS, needs_debian

HOSTILE = '<img src=x onerror="document.title=1"></script><script>document.title=2</script>'
CAVEAT = "who speaks is not known"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three utterances of a demo call, labelled by hand: what is shown does not depend on a model."""
    said = [
        (2.0, "您好，请问是张先生吗？", ()),
        (12.5, "再不还钱就打断你的腿！你这个骗子！", (Label.THREAT, Label.INSULT)),
        (30.0, HOSTILE, (Label.THIRD_PARTY_CONTACT,)),
    ]
    findings = [
        Finding(
            Utterance(0, Speaker.UNKNOWN, start, start + 4, text, text, 0.9),
            Judgement(
                labels[0] if labels else Label.COMPLIANT, labels, {k: 0.9 if k in labels else 0.1 for k in KINDS}
            ),
            (CAVEAT,) if labels else (),
        )
        for start, text, labels in said
    ]
    path = tmp_path_factory.mktemp("page") / "call.html"
    with decode(CALLS / "fake-police.mp3") as recording:
        report = Report.of(recording, findings, ())
        path.write_text(render([call("fake-police.mp3", report, recording)]), "utf8")
    return path


@pytest.fixture(scope="module")
def page(page_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    needs_debian("chromium")
    with browser(tmp_path_factory.mktemp("profile")) as shown:
        shown.open(page_file)
        yield shown


def test_clicked_utterance_plays_from_its_start(page: Page) -> None:
    heard = page.run("""new Promise((resolve, reject) => {
        const audio = document.querySelector("audio")
        setTimeout(() => reject(new Error("nothing plays at " + audio.currentTime)), 20000)
        audio.addEventListener("timeupdate", () => {
            const row = document.querySelector("tr.playing")
            if (!audio.paused && row) resolve([audio.currentTime, row.innerText])
        })
        document.querySelectorAll("button")[1].click()
    })""")
    assert 12.5 <= heard[0] < 16.5
    assert "打断你的腿" in heard[1]
    page.run('document.querySelector("audio").pause()')


def test_flagged_utterances_are_told_by_words_and_place_and_not_by_colour_alone(page: Page) -> None:
    rows = page.run('[...document.querySelectorAll("tbody tr")].map(r => [r.className, r.innerText])')
    assert [classes for classes, _ in rows] == ["", "flagged threat", "flagged third_party_contact"]
    for (_, text), words in zip(rows, ("compliant", "threat, insult", "third_party_contact"), strict=True):
        assert words in text
    bands = page.run('[...document.querySelectorAll("rect")].map(r => [+r.getAttribute("y"), r.textContent])')
    assert [y for y, _ in bands] == [0, 30, 60]
    assert [title.partition(":")[0] for _, title in bands] == ["threat", "insult", "third_party_contact"]
    assert CAVEAT in rows[1][1]


def test_page_needs_nothing_but_itself_and_runs_no_words_of_the_call(page: Page) -> None:
    assert page.run('performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length') == 0
    assert page.run("document.title") == "callaudit"
    assert HOSTILE in page.run("document.body.innerText")
    assert page.complaints == []


def test_waveform_is_drawn(page: Page) -> None:
    drawn = page.run('document.querySelector("path").getBBox().height')
    assert drawn > 40


def test_it_says_who_talks_how_long(page_file: Path) -> None:
    shown = page_file.read_text("utf8")
    assert "talks 12 s" in shown
    assert "Nobody speaks for" in shown
