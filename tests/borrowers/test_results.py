"""What a borrower is shown of a recording, corrects in it, and takes away."""

import re
import socket
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from html import escape
from importlib import resources
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest

from app import calls, corrections
from app.borrowers.rules import read_rules
from app.borrowers.transcript import FLAGGED_A_PAGE, UTTERANCES_A_PAGE
from app.errors import problem_of
from app.words import Language, read_words
from models.call import Label, Speaker
from models.errors import TooLong
from tests.borrowers.conftest import MadeCase, Site, open_site
from tests.conftest import Start
from tests.lenders.conftest import Said
from tests.test_problem_docs import call_errors

HOSTILE = '<img src=x onerror="document.title=1"></script><script>document.title=2</script>'
ODD = [HOSTILE, "名" * 500, "\u202eשלום \u2067abc\u2069", "😀👨‍👩‍👧🏽", "{{ 7 * 7 }} #strong[x] $x$", "a\x00b\x07"]
APP = Path(str(resources.files("app.borrowers")))


def with_a_name(name: str) -> bytes:
    """A ZIP of one file."""
    held = BytesIO()
    with ZipFile(held, "w") as out:
        out.writestr(name, b"x")
    return held.getvalue()


def correct(made: MadeCase, page: str, text: str, seen: int = 0, speaker: str = "collector") -> None:
    fields = {"utterance": "0", "seen": str(seen), "speaker": speaker, "text": text}
    assert made.visitor.post(f"{page}/corrections", **fields).status_code == 303


def test_flagged_utterance_is_told_in_words_with_rules_and_their_status(site: Site) -> None:
    made = site.case()
    page = site.finish(
        made,
        Said("您好"),
        Said("再不还钱就打断你的腿", (Label.THREAT,), score=0.95),
        Said("你这个骗子", (Label.INSULT,), score=0.6),
        Said("我告诉你妈", (Label.THIRD_PARTY_CONTACT,), needs_review=True),
        Said("你才是骗子", (Label.INSULT,), Speaker.BORROWER),
    )
    shown = made.visitor.get(page).text
    items = re.findall(r'<li class="card (\w+)">(.*?)</li>', shown, re.DOTALL)
    assert [kind for kind, _ in items] == ["threat", "insult", "third_party_contact", "insult"]
    for (_, text), words in zip(items, ("很可能", "可能", "需人工确认", "不算催收方的"), strict=True):
        assert words in text
    for rule in read_rules().about(Label.THREAT):
        assert rule.says_zh in shown
        assert rule.status_zh in shown
    assert shown.count("<rect ") == 4
    assert len(set(re.findall(r'<rect [^>]*y="(\d+)"', shown))) == 3  # a place for each kind, not colour alone


def test_rules_cite_only_what_was_read(site: Site) -> None:
    rules = read_rules()
    assert {kind for rule in rules.rule for kind in rule.kinds} == {
        Label.THREAT,
        Label.INSULT,
        Label.THIRD_PARTY_CONTACT,
    }
    assert all(rule.status_zh and "read" in rule.status_en for rule in rules.rule)
    assert [rules.measuring(measure)[0].key for measure in ("night", "calls_per_day")] == [
        "gbt-45251-hours",
        "gbt-45251-daily",
    ]
    page = site.visitor().get("/rules").text
    assert all(rule.says_zh in page for rule in rules.rule)
    assert not re.search(
        r"\d{5,}", re.sub(r"<[^>]+>|GB/T \d+", "", page)
    )  # no phone number, least of all an invented one


def test_correction_stands_beside_the_machines_text(site: Site) -> None:
    made = site.case()
    page = site.finish(made, Said("机器听到的话"), Said("第二句"))
    call_id = page.rpartition("/")[2]
    before = calls.outcome(site.database, call_id).report
    correct(made, page, "实际说的话", speaker="borrower")
    shown = made.visitor.get(page).text
    assert "实际说的话" in shown
    assert "机器听到的话" in shown
    assert '<li id="u0" class="borrower"' in shown
    assert calls.outcome(site.database, call_id).report == before
    with site.database.connect() as connection:
        log = connection.exec_driver_sql("SELECT action, facts FROM audit_log WHERE subject = ?", (call_id,)).all()
    assert [row.action for row in log] == ["call.accepted", "call.corrected"]
    assert "实际" not in str(log)


def test_two_tabs_that_correct_the_same_utterance_lose_neither(site: Site) -> None:
    made = site.case()
    page = site.finish(made, Said("机器"))
    call_id = page.rpartition("/")[2]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda text: correct(made, page, text), ("第一个页面写的", "第二个页面写的")))
    kept = corrections.of_call(site.database, call_id)[0]
    assert sorted(c.text for c in kept.all) == ["第一个页面写的", "第二个页面写的"]
    shown = made.visitor.get(page).text
    for words in ("第一个页面写的", "第二个页面写的", "两个版本都在", "用这一个"):
        assert words in shown
    correct(made, page, kept.all[0].text, seen=kept.newest.number)
    settled = corrections.of_call(site.database, call_id)[0]
    assert (settled.newest.text, settled.unseen) == (kept.all[0].text, None)
    assert "两个版本都在" not in made.visitor.get(page).text


def test_correction_sent_twice_is_one(site: Site) -> None:
    made = site.case()
    page = site.finish(made, Said("机器"))
    correct(made, page, "更正")
    correct(made, page, "更正")
    assert len(corrections.of_call(site.database, page.rpartition("/")[2])[0].all) == 1


@pytest.mark.parametrize(
    "wrong", [{"utterance": "7"}, {"utterance": "-1"}, {"speaker": "judge"}, {"seen": "x"}, {"text": "长" * 5001}]
)
def test_correction_that_makes_no_sense_is_told(site: Site, wrong: dict[str, str]) -> None:
    made = site.case()
    page = site.finish(made, Said("机器"))
    fields = {"utterance": "0", "seen": "0", "speaker": "collector", "text": "更正"} | wrong
    assert made.visitor.post(f"{page}/corrections", **fields).status_code in (413, 422)
    assert corrections.of_call(site.database, page.rpartition("/")[2]) == {}


def test_roles_can_be_swapped_and_swapped_back(site: Site) -> None:
    made = site.case()
    page = site.finish(made, Said("欠钱", (Label.THREAT,)), Said("好", (), Speaker.BORROWER))
    made.visitor.post(f"{page}/roles", swapped="yes")
    shown = made.visitor.get(page).text
    assert re.findall(r'<li id="u\d+" class="(\w+)', shown) == ["borrower", "collector"]
    assert "欠钱" not in made.visitor.get(f"{made.path}/letter").text  # a borrower's words accuse nobody
    made.visitor.post(f"{page}/roles", swapped="no")
    assert re.findall(r'<li id="u\d+" class="(\w+)', made.visitor.get(page).text) == ["collector", "borrower"]


@pytest.mark.parametrize("odd", ODD)
def test_whatever_people_write_is_shown_and_run_nowhere(site: Site, odd: str) -> None:
    made = site.case(lender=odd, caller_number=odd)
    page = site.finish(made, Said(odd.replace("\x00", ""), (Label.THREAT,)))
    correct(made, page, odd)
    made.visitor.post(f"{page}/told", called_on="2026-03-05", lender=odd, caller_number=odd)
    expected = escape(re.sub(r"[\x00-\x1f]", "", odd)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    for path in (made.path, page, f"{page}?edit=0", f"{made.path}/letter"):
        answer = made.visitor.get(path)
        assert answer.status_code == 200
        assert expected in answer.text, path
        assert "<script>" not in answer.text
        assert "<img" not in answer.text
    assert made.visitor.get(f"{made.path}/letter.pdf").content.startswith(b"%PDF")


def test_days_count_calls_and_nights_by_what_the_borrower_says(site: Site) -> None:
    made = site.case(called_on="2026-03-05", called_time="07:59")
    for at in ("09:00", "21:59", "22:00"):
        site.add(made, called_on="2026-03-05", called_time=at)
    site.add(made, file_time="2026-03-06T12:00")
    site.add(made)
    shown = made.visitor.get(made.path).text
    rows = re.findall(r"<tr><th scope=\"row\">([\d-]+)</th>\s*<td>(\d+)(.*?)</td>\s*<td>(\d+)", shown, re.DOTALL)
    assert [(day, count, night) for day, count, _, night in rows] == [
        ("2026-03-05", "4", "2"),
        ("2026-03-06", "1", "0"),
    ]
    assert "超过3次" in rows[0][2]
    assert "超过" not in rows[1][2]
    assert "（您填写的）" in rows[0][2]
    assert "（文件日期，未经核实）" in rows[1][2]
    assert "1段录音没有日期" in shown
    letter = made.visitor.get(f"{made.path}/letter").text
    assert "来电2次" in letter
    assert "有1天单日通话超过3次" in letter


def test_letter_is_filled_edited_kept_and_taken_away(site: Site) -> None:
    made = site.case(called_on="2026-03-05", lender="某某小贷", caller_number="0571-0000")
    page = site.finish(made, Said("再不还钱就打断你的腿", (Label.THREAT,)))
    correct(made, page, "不还就打断你的腿")
    letter = made.visitor.get(f"{made.path}/letter").text
    for words in ("某某小贷", "0571-0000", "2026年3月5日", "“不还就打断你的腿”（经本人更正", "（请填写）", "SHA-256"):
        assert words in letter
    assert made.visitor.post(f"{made.path}/letter", version="0", text="我的信\n第二行").status_code == 303
    taken = made.visitor.get(f"{made.path}/letter.txt")
    assert taken.content.decode("utf-8-sig") == "我的信\r\n第二行"
    assert "attachment" in taken.headers["content-disposition"]
    assert made.visitor.get(f"{made.path}/letter.pdf").content.startswith(b"%PDF")
    made.visitor.post(f"{made.path}/letter", version="1", do="refill", text="x")
    assert "某某小贷" in made.visitor.get(f"{made.path}/letter").text


def test_two_tabs_that_edit_the_letter_lose_neither(site: Site) -> None:
    made = site.case()
    assert made.visitor.post(f"{made.path}/letter", version="0", text="第一个页面").status_code == 303
    answer = made.visitor.post(f"{made.path}/letter", version="0", text="第二个页面")
    assert answer.status_code == 409
    assert "第一个页面" in answer.text
    assert "第二个页面" in answer.text
    version = re.search(r'name="version" value="(\d+)"', answer.text)
    assert version
    assert made.visitor.post(f"{made.path}/letter", version=version[1], text="两个都要").status_code == 303
    assert "两个都要" in made.visitor.get(f"{made.path}/letter").text


def test_sound_plays_by_parts_and_waveform_is_drawn(site: Site) -> None:
    made = site.case()
    page = site.finish(made, Said("您好"))
    whole = made.visitor.get(f"{page}/sound")
    assert whole.headers["content-type"] == "audio/mpeg"
    part = made.visitor.get(f"{page}/sound", headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    wave = made.visitor.get(f"{page}/wave/0.svg")
    assert wave.headers["content-type"] == "image/svg+xml"
    assert wave.text.count("M") == 600
    assert made.visitor.get(f"{page}/wave/7.svg").status_code == 404


def test_bundle_is_whole_and_one_changed_byte_is_found(site: Site) -> None:
    made = site.case(called_on="2026-03-05", called_time="22:40", lender="某某小贷")
    page = site.finish(made, Said("再不还钱就打断你的腿", (Label.THREAT,)))
    correct(made, page, "不还就打断你的腿")
    bundle = made.visitor.get(f"{page}/evidence.zip")
    assert bundle.headers["content-type"] == "application/zip"
    assert made.visitor.get(f"{page}/evidence.zip").content == bundle.content
    checker = site.visitor()
    checked = checker.client.post("/verify", files={"file": bundle.content})
    assert "证据包完整" in checked.text
    middle = len(bundle.content) // 2
    changed = bundle.content[:middle] + bytes([bundle.content[middle] ^ 1]) + bundle.content[middle + 1 :]
    for broken in (changed, b"no zip", b"PK\x03\x04", with_a_name("../../evil")):
        told = checker.client.post("/verify", files={"file": broken})
        assert told.status_code == 200
        assert "不完整，或者被改动过" in told.text
    assert "../../evil" in told.text
    assert "BEGIN PUBLIC KEY" in checker.get("/evidence-key.pem").text
    incoming = site.program.data_dir / "recordings" / ".incoming"
    assert not list(incoming.glob("tmp*"))


def test_bundle_waits_some_seconds_only_for_others_to_be_made(start_program: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(2) as pool:
        silent.settimeout(60)
        authority = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = {"CALLAUDIT_TIMESTAMP_URL": authority, "CALLAUDIT_THREADS": "1"}
        program = start_program(tmp_path / "data", "serve", "--port", "0", "--no-worker", settings=settings)
        for site in open_site(program, tmp_path):
            made = site.case()
            bundle = f"{site.finish(made, Said('您好'))}/evidence.zip"
            others = [pool.submit(made.visitor.get, bundle) for _ in range(2)]
            asking = [silent.accept()[0] for _ in others]
            told = made.visitor.get(bundle)
            for connection in asking:
                connection.close()
            assert ["证据包没有做成" in other.result().text for other in others] == [True, True]
            assert (told.status_code, "现在有点忙" in told.text) == (503, True)
            assert int(told.headers["retry-after"]) > 0


def test_hour_of_conversation_is_light_and_quick(site: Site) -> None:
    made = site.case()
    said = [
        Said(f"这是第{n}句话，说的是还款的事情，请您尽快处理一下", (Label.THREAT,) if n % 9 == 0 else ())
        for n in range(900)
    ]
    page = site.finish(made, *said)
    took, last = [], -(-900 // UTTERANCES_A_PAGE)
    for part in (1, 2, last):
        began = time.perf_counter()
        answer = made.visitor.get(f"{page}?part={part}")
        took.append(time.perf_counter() - began)
        assert len(answer.content) < 150_000
    assert "第899句话" in answer.text
    quoted = [re.findall(r"<q><bdi>这是第(\d+)句话", made.visitor.get(f"{page}?flagged={n}").text) for n in range(1, 5)]
    assert [len(some) for some in quoted] == [FLAGGED_A_PAGE] * 4
    assert [int(n) for some in quoted for n in some] == list(range(0, 900, 9))
    assert min(took) < 0.3, took


def test_both_languages_have_the_same_texts_and_templates_use_no_others() -> None:
    chinese, english = (read_words("app.borrowers", language).texts for language in Language)
    assert set(chinese) == set(english)
    for key, text in chinese.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", english[key])), key
        assert text.strip()
        assert english[key].strip()
    templates = "".join(file.read_text("utf8") for file in (APP / "templates").iterdir())
    used = set(re.findall(r't\("([a-z_]+\.[a-z_0-9]+)"[,)]', templates))
    assert used <= set(chinese), used - set(chinese)
    code = "".join(file.read_text("utf8") for file in APP.glob("*.py"))
    for key in re.findall(r'Trouble\(\s*\d+, "(\w+)"', code):
        assert {f"trouble.{key}", f"trouble.{key}_todo"} <= set(chinese), key


def test_every_failure_of_a_call_has_plain_words() -> None:
    texts = tomllib.loads((APP / "texts" / "zh.toml").read_text("utf8"))["trouble"]
    decoding = {"empty-recording", "unknown-format", "broken-recording", "too-many-channels", "too-long", "too-large"}
    assert decoding <= {kind for kind, _ in call_errors()}
    assert all(f"call_{kind.replace('-', '_')}" in texts for kind in decoding)


def test_failed_call_is_told_in_plain_words(site: Site) -> None:
    made = site.case()
    attempt = calls.begin(site.database, site.recordings(made)[0].call_id)
    assert attempt
    calls.fail(site.database, attempt, problem_of(TooLong(10)))
    shown = made.visitor.get(made.path).text
    assert "录音太长" in shown
    assert "CALLAUDIT" not in shown
