"""Which calls an analyst sees, in which order, and what of it is kept under a name."""

import re
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest

from app.words import Language, read_words
from models.call import Label, Speaker
from tests.lenders.conftest import Said
from tests.qa.conftest import Analyst, House, Office

THREAT, INSULT, THIRD = Label.THREAT, Label.INSULT, Label.THIRD_PARTY_CONTACT


def shown(analyst: Analyst, query: str = "") -> list[str]:
    """The calls of a page of the queue, in its order."""
    answer = analyst.get(f"/qa?{query}")
    assert answer.status_code == 200, answer.text
    return re.findall(r'<p class="quote"[^>]*><a href="/qa/calls/([^?]+)\?', answer.text)


@pytest.fixture(scope="module")
def filled(house: House) -> tuple[Office, dict[str, str]]:
    office = house.office()
    march = datetime(2026, 3, 5, 18, tzinfo=UTC)  # the sixth of March in China
    return office, {
        "calm": office.call(Said("您好，请问是本人吗"), collector_id="c-1", agency="north", called_at=march),
        "insult": office.call(Said("您好"), Said("老赖", (INSULT,), score=0.7), collector_id="c-2", agency="south"),
        "threat": office.call(
            Said("打断你的腿", (THREAT,), score=0.95), Said("骗子", (INSULT,), score=0.5), collector_id="c-2"
        ),
        "own": office.call(Said("你才是骗子", (INSULT,), Speaker.BORROWER, score=0.99)),
        "unsure": office.call(Said("我打电话给你妈", (THIRD,), needs_review=True, score=0.6), agency="south"),
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["threat", "insult", "unsure", "calm", "own"]),
        ("label=flagged", ["threat", "insult", "unsure"]),
        ("label=insult", ["insult", "threat"]),  # by what was asked for, not by the threat
        ("label=insult&max_score=0.6", ["threat"]),
        ("label=compliant", ["calm", "own"]),
        ("min_score=0.6", ["threat", "insult", "unsure"]),
        ("min_score=0.6&max_score=0.8", ["insult", "unsure"]),
        ("collector_id=c-2", ["threat", "insult"]),
        ("agency=south", ["insult", "unsure"]),
        ("from=2026-03-06&until=2026-03-06", ["calm"]),
        ("until=2026-03-05", []),
        ("needs_review=yes", ["unsure"]),
        ("needs_review=no&label=flagged", ["threat", "insult"]),
        ("progress=none", ["threat", "insult", "unsure", "calm", "own"]),
        ("progress=all", []),
        ("q=骗子", ["threat", "own"]),
        ("q=腿", ["threat"]),
        ("q=%25", []),
        ("agency=east", []),
    ],
)
def test_filters_choose_and_scores_order(
    filled: tuple[Office, dict[str, str]], query: str, expected: list[str]
) -> None:
    office, made = filled
    names = {call_id: name for name, call_id in made.items()}
    assert [names[call_id] for call_id in shown(office.analyst(), query)] == expected


def test_search_shows_the_words_that_were_found(filled: tuple[Office, dict[str, str]]) -> None:
    office, made = filled
    page = office.analyst().get("/qa?q=骗子").text
    assert f"/qa/calls/{made['threat']}?at=1&amp;" in page
    assert "<q><bdi>骗子</bdi></q>" in page


@pytest.mark.parametrize(
    "query",
    [
        "label=worst",
        "min_score=2",
        "max_score=nan",
        "from=2026-02-30",
        "until=9999-12-31",
        "needs_review=maybe",
        "progress=half",
    ],
)
def test_filter_that_is_not_understood_is_named_and_left_out(filled: tuple[Office, dict[str, str]], query: str) -> None:
    office, made = filled
    analyst = office.analyst()
    assert len(shown(analyst, query)) == len(made)
    assert "没有使用" in analyst.get(f"/qa?{query}").text


def test_pages_follow_each_other_without_gaps(office: Office) -> None:
    made = [office.call(Said(f"第{n}通", (THREAT,), score=round(0.5 + 0.1 * (n % 3), 1))) for n in range(28)]
    analyst, pages, path = office.analyst(), [], "/qa?label=threat"
    while path:
        text = analyst.get(path).text
        pages.append(re.findall(r"/qa/calls/([^?]+)\?at", text))
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = following[1].replace("&amp;", "&") if following else ""
    assert [len(page) for page in pages] == [25, 3]
    order = [call_id for page in pages for call_id in page]
    assert sorted(order) == sorted(made)
    assert order[0] == made[26]  # the newest of the highest score
    assert analyst.get("/qa?after=nonsense").status_code == 422


def test_reviews_move_a_call_through_the_queue(office: Office) -> None:
    call_id = office.call(Said("打断你的腿", (THREAT,)), Said("老赖", (INSULT,), needs_review=True))
    analyst = office.analyst()
    for index, progress in ((1, "some"), (0, "all")):
        analyst.post(f"/qa/calls/{call_id}/utterances/{index}/reviews", save="compliant")
        assert shown(analyst, f"progress={progress}") == [call_id]
    assert shown(analyst, "needs_review=yes") == []
    analyst.post(f"/qa/calls/{call_id}/undo")
    assert shown(analyst, "progress=some") == [call_id]


def test_tenants_see_their_own_calls_and_filters_alone(house: House) -> None:
    ours, theirs = house.office(), house.office()
    secret = ours.call(Said("打断你的腿", (THREAT,)))
    insider, stranger = ours.analyst(), theirs.analyst()
    insider.post("/qa/filters", name="重点", query="label=threat")
    assert shown(insider) == [secret]
    page = stranger.get("/qa").text
    assert shown(stranger) == shown(stranger, "q=打断") == []
    assert "重点" not in page
    found = re.search(r"/qa/filters/([^/]+)/delete", insider.get("/qa").text)
    assert found
    assert stranger.post(f"/qa/filters/{found[1]}/delete").status_code == 404
    assert "重点" in insider.get("/qa").text
    for path in ("", "/sound", "/wave/0.svg", "/news"):
        assert stranger.get(f"/qa/calls/{secret}{path}").status_code == 404, path
    for path in ("/utterances/0/reviews", "/undo"):
        assert stranger.post(f"/qa/calls/{secret}{path}", save="compliant").status_code == 404, path
    assert insider.rest("GET", f"/v1/calls/{secret}/reviews").json()["reviews"] == []


def test_filters_are_kept_once_a_name_and_deleted(office: Office) -> None:
    analyst = office.analyst()
    name = "<b>夜间</b> & שלום 😀"
    saved = analyst.post("/qa/filters", name=name, query="label=threat&after=0.5:3&junk=1&agency=%3Cscript%3E")
    assert saved.headers["location"] == "/qa?label=threat&agency=%3Cscript%3E&notice=saved"
    page = office.analyst().get(saved.headers["location"]).text  # a colleague's too
    assert "&lt;b&gt;夜间&lt;/b&gt; &amp; שלום 😀" in page
    assert "<b>夜间" not in page
    assert "<script>" not in page
    assert 'value="&lt;script&gt;"' in page
    assert analyst.post("/qa/filters", name=name, query="label=insult").status_code == 409
    assert analyst.post("/qa/filters", name="", query="label=insult").status_code == 422
    assert analyst.post("/qa/filters", name="x" * 61, query="label=insult").status_code == 422
    assert analyst.post("/qa/filters", name="y", query="junk=1").status_code == 422
    found = re.search(r"/qa/filters/([^/]+)/delete", page)
    assert found
    assert analyst.post(f"/qa/filters/{found[1]}/delete").headers["location"] == "/qa?notice=removed"
    assert analyst.post(f"/qa/filters/{found[1]}/delete").status_code == 404


def test_both_languages_have_the_same_texts_and_pages_use_no_others() -> None:
    chinese, english = (read_words("app.qa", language).texts for language in Language)
    assert set(chinese) == set(english)
    for key, text in chinese.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", english[key])), key
    pages = Path(str(resources.files("app.qa")))
    templates = "".join(file.read_text("utf8") for file in (pages / "templates").iterdir())
    used = set(re.findall(r't\("([a-z_]+\.[a-z_0-9]+)"[,)]', templates))
    assert used <= set(chinese), used - set(chinese)
    code = "".join(file.read_text("utf8") for file in pages.glob("*.py"))
    for key in re.findall(r'Trouble\(\s*\d+, "(\w+)"', code):
        assert {f"trouble.{key}", f"trouble.{key}_todo"} <= set(chinese), key
    for key in re.findall(r'words\("([a-z_.0-9]+)"', code):
        assert key in chinese, key
