"""What an analyst decides is saved at once, taken back, and never written over another's."""

import re
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import httpx2
import pytest
import soundfile

from app import audit
from app.keys import Role
from app.qa.transcript import UTTERANCES_A_PAGE
from models.call import Label, Speaker
from tests.lenders.conftest import Said
from tests.qa.conftest import REVIEWER, Analyst, Office

THREAT, INSULT = Label.THREAT, Label.INSULT
SCRIPT = {"accept": "application/json"}


@pytest.fixture
def call_id(office: Office) -> str:
    return office.call(
        Said("您好，请问是本人吗"),
        Said("不还就打断你的腿", (THREAT,)),
        Said("你才是骗子", (INSULT,), Speaker.BORROWER),
        Said("打一六三零零一二三四五六找你妈"),
    )


def review(analyst: Analyst, call_id: str, index: int, headers: Any = None, **fields: str) -> httpx2.Response:
    return analyst.post(f"/qa/calls/{call_id}/utterances/{index}/reviews", headers=headers, **fields)


def stored(analyst: Analyst, call_id: str) -> Any:
    return analyst.rest("GET", f"/v1/calls/{call_id}/reviews").json()


@pytest.mark.parametrize(
    ("index", "fields", "verdict", "labels"),
    [
        (1, {"save": "threat"}, "confirm", ["threat"]),
        (1, {"save": "insult"}, "correct", ["insult"]),
        (1, {"save": "compliant"}, "reject", []),
        (0, {"save": "compliant"}, "confirm", []),
        (0, {"save": "several", "kind_insult": "yes", "kind_threat": "yes"}, "correct", ["threat", "insult"]),
        (1, {"save": "several"}, "reject", []),
    ],
)
def test_decision_is_the_same_as_by_the_api(
    *, office: Office, call_id: str, index: int, fields: dict[str, str], verdict: str, labels: list[str]
) -> None:
    analyst = office.analyst()
    answer = review(analyst, call_id, index, note=" 听了两遍 ", **fields)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == f"/qa/calls/{call_id}?at={index}&queue=#u{index}"
    (given,) = stored(analyst, call_id)["reviews"]
    assert (given["kind"], given["verdict"], given["labels"]) == ("review", verdict, labels)
    assert (given["note"], given["reviewer"]) == ("听了两遍", f"key:{analyst.prefix}")


def test_script_gets_the_utterance_as_it_is_now(office: Office, call_id: str) -> None:
    answer = review(office.analyst(), call_id, 1, SCRIPT, save="insult").json()
    assert answer["said"] == "已保存：侮辱辱骂"
    (changed,) = answer["changed"]
    assert changed["index"] == 1
    assert 'data-labels="insult"' in changed["html"]
    assert "已定1句" in answer["facts"]


def test_undo_takes_back_ones_own_last_decision_and_keeps_it_on_record(office: Office, call_id: str) -> None:
    analyst, colleague = office.analyst(), office.analyst()
    review(colleague, call_id, 1, save="insult")
    review(analyst, call_id, 1, save="compliant", seen="99")
    review(analyst, call_id, 0, save="insult")
    assert stored(analyst, call_id)["verdict"] == ["insult"]
    analyst.post(f"/qa/calls/{call_id}/undo")
    assert stored(analyst, call_id)["verdict"] == []
    analyst.post(f"/qa/calls/{call_id}/undo")
    assert stored(analyst, call_id)["verdict"] == ["insult"]  # the colleague's counts again
    assert analyst.post(f"/qa/calls/{call_id}/undo", headers=SCRIPT).json()["said"] == "没有可以撤销的决定"
    assert analyst.post(f"/qa/calls/{call_id}/undo").status_code == 404
    found = stored(analyst, call_id)
    assert [one["kind"] for one in found["reviews"]] == ["review"] * 3 + ["withdrawal"] * 2
    theirs = found["reviews"][0]["id"]
    assert analyst.post(f"/qa/calls/{call_id}/undo", review=theirs).status_code == 403
    assert stored(analyst, call_id)["verdict"] == ["insult"]


def test_call_of_which_all_is_taken_back_is_not_reviewed(office: Office) -> None:
    call_id = office.call(Said("不还就打断你的腿", (THREAT,)), collector_id="c-1")
    analyst = office.analyst()

    def reviewed() -> int:
        (card,) = analyst.rest("GET", "/v1/collectors").json()["scorecards"]
        return int(card["reviewed_calls"])

    review(analyst, call_id, 0, save="threat")
    assert reviewed() == 1
    analyst.post(f"/qa/calls/{call_id}/undo")
    assert reviewed() == 0


def test_api_withdraws_and_notes_by_the_same_rules(office: Office, call_id: str) -> None:
    analyst = office.analyst()

    def post(**given: Any) -> httpx2.Response:
        return analyst.rest("POST", f"/v1/calls/{call_id}/utterances/1/reviews", json=given)

    assert post(kind="withdrawal").status_code == 409
    assert post(kind="dispute", note="no").status_code == 201
    assert post(kind="note", note="heard twice").status_code == 201
    assert stored(analyst, call_id)["disputed"] == [1]  # a note decides nothing
    assert post(kind="withdrawal").status_code == 201
    assert post(kind="withdrawal").status_code == 201
    assert stored(analyst, call_id)["disputed"] == []
    assert post(kind="note").status_code == 422
    assert post(kind="withdrawal", verdict="reject").status_code == 422


def test_two_reviewers_do_not_overwrite_each_other(office: Office, call_id: str) -> None:
    first, second = office.analyst(), office.analyst()
    page = second.get(f"/qa/calls/{call_id}?at=1").text
    seen = re.search(r'id="u1".*?data-seen="(\d+)"', page, re.DOTALL)
    assert seen
    assert review(first, call_id, 1, save="threat", seen=seen[1]).status_code == 303
    late = review(second, call_id, 1, save="compliant", note="开玩笑", seen=seen[1])
    assert late.status_code == 409
    assert "还没有保存" in late.text
    assert "开玩笑</textarea>" in late.text
    assert len(stored(first, call_id)["reviews"]) == 1
    by_script = review(second, call_id, 1, SCRIPT, save="compliant", seen=seen[1])
    assert by_script.status_code == 409
    now = re.search(r'data-seen="(\d+)"', by_script.json()["changed"][0]["html"])
    assert now
    assert review(second, call_id, 1, save="compliant", seen=now[1]).status_code == 303
    assert [one["labels"] for one in stored(first, call_id)["reviews"]] == [["threat"], []]
    assert first.rest("GET", "/v1/reviews/agreement").json()["utterances"] == 1


def test_others_decisions_come_in_as_news(office: Office, call_id: str) -> None:
    first, second = office.analyst(), office.analyst()
    review(first, call_id, 1, save="insult")
    told = second.get(f"/qa/calls/{call_id}/news?since=0").json()
    assert told["said"] == "QA 刚才审定了 0:04 的一句：侮辱辱骂"
    assert [one["index"] for one in told["changed"]] == [1]
    assert second.get(f"/qa/calls/{call_id}/news?since={told['newest']}").json()["changed"] == []
    assert first.get(f"/qa/calls/{call_id}/news?since=0").json()["changed"] == []  # one's own are known
    first.post(f"/qa/calls/{call_id}/undo")
    assert "撤销" in second.get(f"/qa/calls/{call_id}/news?since={told['newest']}").json()["said"]


def test_dispute_is_decided_by_another(office: Office, call_id: str) -> None:
    objecting, deciding = office.analyst(), office.analyst()
    path = f"/v1/calls/{call_id}/utterances/1/reviews"
    assert objecting.rest("POST", path, json={"kind": "dispute", "note": "not ours"}).status_code == 201
    assert "有异议" in deciding.get(f"/qa/calls/{call_id}").text
    assert review(objecting, call_id, 1, save="compliant").status_code == 403
    assert review(deciding, call_id, 1, save="compliant").status_code == 303
    found = stored(deciding, call_id)
    assert found["disputed"] == []
    assert found["reviews"][-1]["kind"] == "decision"


@pytest.mark.parametrize(
    ("index", "fields", "status", "words"),
    [
        (4, {"save": "threat"}, 404, "没有这一句"),
        (-1, {"save": "threat"}, 404, "没有这一句"),
        ("x", {"save": "threat"}, 422, "不完整"),
        (1, {"save": "murder"}, 422, "没有看懂"),
        (1, {}, 422, "没有看懂"),
        (1, {"save": "note", "note": " "}, 422, "空的"),
        (1, {"save": "threat", "note": "长" * 10_000}, 413, "最多4000字"),
        (1, {"save": "threat", "note": "x" * 1_100_000}, 413, "太长"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_saved(
    *, office: Office, call_id: str, index: Any, fields: dict[str, str], status: int, words: str
) -> None:
    analyst = office.analyst()
    for headers in (None, SCRIPT):
        answer = review(analyst, call_id, index, headers, **fields)
        assert answer.status_code == status, answer.text
        assert words in (answer.json()["said"] if headers else answer.text)
    assert stored(analyst, call_id)["reviews"] == []


def test_html_in_every_field_stays_text(office: Office) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    call_id = office.call(Said(evil, (THREAT,)), collector_id=evil, agency=evil)
    analyst = office.analyst()
    review(analyst, call_id, 0, save="threat", note=evil)
    for path in (f"/qa/calls/{call_id}?queue={evil}", f"/qa?q={evil}&collector_id={evil}&from={evil}", "/qa"):
        page = analyst.get(path).text
        assert "<script>" not in page, path
        assert "<img" not in page, path
    assert evil in analyst.rest("GET", f"/v1/calls/{call_id}/reviews").json()["reviews"][0]["note"]
    changed = review(analyst, call_id, 0, SCRIPT, save="insult", note=evil).json()["changed"][0]["html"]
    assert "<script>" not in changed


def test_calls_that_cannot_be_reviewed_say_why(office: Office) -> None:
    analyst = office.analyst()
    waiting = office.queued(1.0, datetime.now(UTC))
    assert analyst.get(f"/qa/calls/{waiting}").status_code == 409
    assert "还没有处理完" in analyst.get(f"/qa/calls/{waiting}").text
    assert analyst.get("/qa/calls/unknown").status_code == 404
    assert "没有这通电话" in analyst.get("/qa/calls/unknown").text


def test_key_without_the_role_review_reads_and_hears_only(office: Office, call_id: str) -> None:
    reader = office.analyst(Role.READ)
    page = reader.get(f"/qa/calls/{call_id}").text
    assert "只能看和听" in page
    assert 'class="decide"' not in page
    assert review(reader, call_id, 1, save="threat").status_code == 403
    assert reader.post(f"/qa/calls/{call_id}/undo").status_code == 403


def test_what_is_private_is_masked_and_silent_but_for_the_role_unredacted(office: Office, call_id: str) -> None:
    masked, whole = office.analyst(), office.analyst(*REVIEWER, Role.UNREDACTED)
    assert "打***********找你妈" in masked.get(f"/qa/calls/{call_id}").text
    assert "一六三零零一二三四五六" in whole.get(f"/qa/calls/{call_id}").text

    def loud(analyst: Analyst) -> float:
        answer = analyst.get(f"/qa/calls/{call_id}/sound")
        assert answer.headers["content-type"] == "audio/mpeg"
        assert answer.headers["cache-control"] == "no-store"
        samples, rate = soundfile.read(BytesIO(answer.content))
        return float(abs(samples[int(13 * rate) : int(14 * rate)]).max())

    def drawn(analyst: Analyst) -> list[float]:
        path = analyst.get(f"/qa/calls/{call_id}/wave/0.svg").text
        tops = re.findall(r"M(\d+) ([\d.]+)V", path)
        return [45 - float(top) for place, top in tops if 13 <= int(place) / 600 * 16 < 14]

    # The number is said by the collector, on the first channel, and the second goes on.
    assert loud(masked) < 0.7 * loud(whole)
    assert max(drawn(masked)) == 0
    assert min(drawn(whole)) > 0
    part = masked.get(f"/qa/calls/{call_id}/sound", headers={"range": "bytes=100-199"})
    assert (part.status_code, len(part.content)) == (206, 100)
    logged = audit.entries(office.database, office.id, None, 100, call_id)
    seen = {(entry.actor, entry.action) for entry in logged if "unredacted" in entry.action}
    assert seen == {
        (f"key:{whole.prefix}", "report.seen_unredacted"),
        (f"key:{whole.prefix}", "audio.heard_unredacted"),
    }


def test_notes_are_masked_but_for_the_role_unredacted(office: Office, call_id: str) -> None:
    number, masked = "回拨 13800138000", "回拨 ***********"
    reader, whole = office.analyst(), office.analyst(*REVIEWER, Role.UNREDACTED)
    path = f"/v1/calls/{call_id}/utterances/1/reviews"
    sent = reader.rest("POST", path, json={"kind": "note", "note": number})
    assert sent.json()["note"] == number
    for analyst, shown, hidden in ((reader, masked, number), (whole, number, masked)):
        (given,) = stored(analyst, call_id)["reviews"]
        assert given["note"] == shown
        page = analyst.get(f"/qa/calls/{call_id}?at=1").text
        assert (shown in page, hidden in page) == (True, False)
    changed = whole.get(f"/qa/calls/{call_id}/news?since=0").json()["changed"][0]["html"]
    assert number in changed
    by_script = review(reader, call_id, 1, SCRIPT, save="threat").json()["changed"][0]["html"]
    assert (masked in by_script, number in by_script) == (True, False)


def test_sound_of_a_deleted_call_is_gone_at_once(office: Office, call_id: str) -> None:
    analyst, chief = office.analyst(), office.analyst(Role.READ, Role.ADMIN)
    assert analyst.get(f"/qa/calls/{call_id}/sound").status_code == 200
    assert chief.rest("DELETE", f"/v1/calls/{call_id}").status_code == 204
    assert analyst.get(f"/qa/calls/{call_id}/sound").status_code == 404
    assert analyst.get(f"/qa/calls/{call_id}").status_code == 404


def test_long_call_is_several_light_pages(office: Office) -> None:
    said = [Said(f"这是第{n}句话，我们再说一遍还款的事情", (THREAT,) if n % 9 == 0 else ()) for n in range(900)]
    call_id = office.call(*said, seconds=60)
    analyst = office.analyst()
    page = analyst.get(f"/qa/calls/{call_id}?at=899")
    assert "这是第899句话" in page.text
    assert "这是第0句话，" not in re.sub("<title>.*?</title>", "", page.text)
    last = -(-900 // UTTERANCES_A_PAGE)
    assert f'part={last}&amp;queue=#transcript" aria-current="page"' in page.text
    paths = set(re.findall(r'(?:href|src)="(/qa/static/[^"]+)"', page.text))
    assert len(paths) >= 4
    weight = sum(len(analyst.get(path).content) for path in paths) + len(page.content)
    assert weight < 150_000, weight
