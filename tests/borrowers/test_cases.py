"""One borrower's case: how it is made, opened, kept from others, and ended."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import sqlalchemy as sa
from fastapi.routing import APIRoute

from app import cases
from app.borrowers import case, evidence, letters, recording
from app.tables import cases as case_rows
from app.tables import corrections
from models.call import Label
from tests.borrowers.conftest import MadeCase, Site
from tests.lenders.conftest import Said

SECRET = "只有这位借款人知道的话"


def test_first_page_sets_no_cookie_and_allows_no_script_but_its_own(site: Site) -> None:
    answer = site.visitor().get("/")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"<script(?![^>]*\ssrc=\"/static/)", answer.text) == []
    assert re.findall(r"\s(?:style|on\w+)=", answer.text) == []
    assert re.findall(r"(?:src|href|action)=\"(?!/|#)", answer.text) == []
    assert "30天" in answer.text


def test_plain_form_makes_a_case_and_shows_its_code_until_it_is_noted(site: Site) -> None:
    made = site.case(called_on="2026-03-05", called_time="22:40", lender="某某小贷", caller_number="0571-0000")
    shown = made.visitor.get(made.path).text
    assert "2026-03-05 22:40" in shown
    assert "某某小贷" in shown
    made.visitor.post(f"{made.path}/code/noted")
    later = made.visitor.get(made.path)
    assert later.status_code == 200
    assert made.code[:4] not in later.text
    with site.database.connect() as connection:
        stored = connection.execute(sa.select(case_rows).where(case_rows.c.id == site.case_id(made))).one()
    assert made.code not in str(stored)
    assert made.path.rpartition("/")[2] not in str(stored)


def test_cookies_are_for_one_case_and_no_script(site: Site) -> None:
    visitor = site.visitor()
    answer = visitor.send(site.sound())
    for cookie in answer.headers.get_list("set-cookie"):
        assert f"Path={answer.headers['location']}" in cookie
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()


def test_form_sent_twice_makes_one_case_with_one_recording(site: Site) -> None:
    visitor, file = site.visitor(), site.sound()
    once = visitor.once()
    first, second = visitor.send(file, once), visitor.send(file, once)
    assert first.headers["location"] == second.headers["location"]
    assert len(site.recordings(MadeCase(visitor, first.headers["location"], ""))) == 1


def test_double_click_makes_one_case_with_one_recording(site: Site) -> None:
    file, once = site.sound(), site.visitor().once()
    visitors = [site.visitor() for _ in range(4)]
    start = threading.Barrier(4)

    def click(number: int) -> httpx2.Response:
        start.wait()
        return visitors[number].send(file, once)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(click, range(4)))
    assert [a.status_code for a in answers] == [303] * 4
    (path,) = {a.headers["location"] for a in answers}
    assert len(site.recordings(MadeCase(visitors[0], path, ""))) == 1
    for visitor in visitors:
        assert visitor.get(path).status_code == 200


def test_another_file_from_the_same_form_joins_the_case(site: Site) -> None:
    visitor = site.visitor()
    once = visitor.once()
    path = visitor.send(site.sound(), once).headers["location"]
    assert visitor.send(site.sound(), once).headers["location"] == path
    assert len(site.recordings(MadeCase(visitor, path, ""))) == 2


def walked(made: MadeCase, call_id: str) -> list[tuple[str, str]]:
    """Every route below a case."""
    found = []
    for router in (case.router, recording.router, letters.router, evidence.router):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            if "{link}" not in route.path:
                continue
            path = route.path.format(link=made.path.rpartition("/")[2], call_id=call_id, channel=0)
            found += [(method, path) for method in route.methods or ()]
    return found


def test_no_borrower_reaches_anothers_case(site: Site) -> None:
    made, stranger = site.case(lender=SECRET), site.case()
    site.finish(made, Said(SECRET, (Label.THREAT,)))
    call_id = site.recordings(made)[0].call_id
    routes = walked(made, call_id)
    assert len(routes) >= 20
    for method, path in routes:
        for visitor in (stranger.visitor, site.visitor()):
            answer = visitor.client.request(method, path)
            assert answer.status_code == 403, (method, path)
            assert SECRET not in answer.text, (method, path)
    for method, path in walked(stranger, call_id):
        if call_id in path:  # another's recording under one's own case
            answer = stranger.visitor.client.request(method, path)
            assert answer.status_code in (303, 404), (method, path)
            assert SECRET not in answer.text, (method, path)
    assert len(site.recordings(made)) == 1
    assert made.visitor.get(made.path).status_code == 200


def test_right_code_opens_however_it_is_typed(site: Site) -> None:
    made = site.case()
    wide = "".join(chr(ord(digit) + 0xFEE0) for digit in made.code)
    for typed in (made.code, f" {made.code[:4]} {made.code[4:]} ", wide):
        visitor = site.visitor()
        assert visitor.get(made.path).status_code == 403
        assert visitor.post(f"{made.path}/code", code=typed).status_code == 303
        assert visitor.get(made.path).status_code == 200


def test_ten_wrong_codes_lock_the_case_for_a_while(site: Site) -> None:
    made, thief = site.case(), site.visitor()
    wrong = f"{(int(made.code) + 1) % 10**8:08}"
    for left in range(9, 0, -1):
        answer = thief.post(f"{made.path}/code", code=wrong)
        assert (answer.status_code, f"还可以试{left}次" in answer.text) == (403, True)
    assert thief.post(f"{made.path}/code", code=wrong).status_code == 429
    locked = thief.post(f"{made.path}/code", code=made.code)
    assert locked.status_code == 429
    assert "retry-after" in locked.headers
    assert made.visitor.get(made.path).status_code == 200  # who is in stays in
    with site.database.begin() as connection:
        past = {"locked_until": datetime.now(UTC) - timedelta(seconds=1)}
        connection.execute(sa.update(case_rows).where(case_rows.c.id == site.case_id(made)).values(past))
    assert thief.post(f"{made.path}/code", code=made.code).status_code == 303


def test_new_code_replaces_the_old_one(site: Site) -> None:
    made = site.case()
    made.visitor.post(f"{made.path}/code/new")
    shown = re.search(r"digits\">(\d{4}) (\d{4})<", made.visitor.get(made.path).text)
    assert shown
    assert site.visitor().post(f"{made.path}/code", code=made.code).status_code == 403
    assert site.visitor().post(f"{made.path}/code", code=shown[1] + shown[2]).status_code == 303


def test_what_was_written_outlives_a_visit_that_ended(site: Site) -> None:
    made = site.case()
    page = site.finish(made, Said("您好"))
    made.visitor.post(f"{made.path}/leave")
    asked = made.visitor.post(f"{page}/corrections", utterance="0", seen="0", speaker="collector", text="<b>您好吗</b>")
    assert asked.status_code == 403
    kept = dict(re.findall(r'name="kept-(\w+)" value="([^"]*)"', asked.text))
    assert kept["text"] == "&lt;b&gt;您好吗&lt;/b&gt;"
    fields = {f"kept-{name}": value.replace("&lt;", "<").replace("&gt;", ">") for name, value in kept.items()}
    go_on = made.visitor.post(f"{made.path}/code", code=made.code, action=f"{page}/corrections", **fields)
    assert f'action="{page}/corrections"' in go_on.text
    sent = dict(re.findall(r'name="(\w+)" value="([^"]*)"', go_on.text))
    assert sent["text"] == "&lt;b&gt;您好吗&lt;/b&gt;"
    elsewhere = made.visitor.post(f"{made.path}/code", code=made.code, action="https://evil.example/", **fields)
    assert "evil" not in elsewhere.text


def test_deleted_case_is_gone_from_pages_tables_and_disk(site: Site) -> None:
    made = site.case(lender=SECRET)
    page = site.finish(made, Said("您好"))
    made.visitor.post(f"{page}/corrections", utterance="0", seen="0", speaker="collector", text=SECRET)
    call_id = page.rpartition("/")[2]
    assert made.visitor.get(f"{page}/sound").status_code == 200  # makes a copy for listening, which must go, too
    tenant = site.case_id(made)
    assert any(tenant in str(file) for file in site.files())
    other = site.case()
    assert "删除" in made.visitor.get(f"{made.path}/delete").text
    assert made.visitor.post(f"{made.path}/delete").headers["location"] == "/deleted"
    assert not any(tenant in str(file) for file in site.files())
    with site.database.connect() as connection:
        count = sa.select(sa.func.count()).select_from(corrections).where(corrections.c.call_id == call_id)
        assert connection.execute(count).scalar() == 0
    for path in (made.path, page, f"{made.path}/letter"):
        answer = made.visitor.get(path)
        assert answer.status_code == 410
        assert "已经删除" in answer.text
    assert made.visitor.post(f"{made.path}/code", code=made.code).status_code == 410
    assert other.visitor.get(other.path).status_code == 200


def test_form_from_before_the_deletion_makes_a_case_of_its_own(site: Site) -> None:
    visitor = site.visitor()
    once = visitor.once()
    first = visitor.send(site.sound(), once).headers["location"]
    visitor.post(f"{first}/delete")
    answer = visitor.send(site.sound(), once)
    assert answer.status_code == 303
    assert answer.headers["location"] != first
    assert visitor.get(answer.headers["location"]).status_code == 200


def test_case_goes_by_itself_when_its_time_is_over(site: Site) -> None:
    made, other = site.case(), site.case()
    tenant = site.case_id(made)
    with site.database.begin() as connection:
        over = {"expires_at": datetime.now(UTC) - timedelta(seconds=1)}
        connection.execute(sa.update(case_rows).where(case_rows.c.id == tenant).values(over))
    recordings = site.program.data_dir / "recordings"

    def forget(tenant_id: str, sha256: str) -> None:
        (recordings / "tenants" / tenant_id / sha256[:2] / sha256).unlink()

    dropped: list[str] = []
    assert cases.remove_expired(site.database, forget, dropped.append) == 1
    assert len(dropped) == 1
    assert made.visitor.get(made.path).status_code == 410
    assert not any(tenant in str(file) for file in site.files())
    assert other.visitor.get(other.path).status_code == 200


def test_one_recording_can_go_alone(site: Site) -> None:
    made = site.case()
    assert site.add(made).status_code == 303
    first, second = (r.call_id for r in site.recordings(made))
    made.visitor.post(f"{made.path}/recordings/{first}/delete")
    assert [r.call_id for r in site.recordings(made)] == [second]


def test_words_of_a_recording_that_went_alone_are_in_no_file_of_the_database(site: Site) -> None:
    words, corrected, lender = "这句话只在这段录音里说过", "这句更正只写过一次", "只填过一次的公司"
    made = site.case(lender=lender)
    assert site.add(made).status_code == 303
    page = site.finish(made, Said(words, (Label.THREAT,)))
    made.visitor.post(f"{page}/corrections", utterance="0", seen="0", speaker="collector", text=corrected)

    def found() -> list[str]:
        stored = [file.read_bytes() for file in site.program.data_dir.glob("callaudit.db*")]
        return [said for said in (words, corrected, lender) if any(said.encode() in content for content in stored)]

    assert found() == [words, corrected, lender]
    assert made.visitor.post(f"{page}/delete").status_code == 303
    assert found() == []


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}])
def test_form_from_another_site_does_nothing(site: Site, headers: dict[str, str]) -> None:
    made = site.case()
    answer = made.visitor.client.post(f"{made.path}/delete", headers=headers)
    assert answer.status_code == 403
    assert made.visitor.get(made.path).status_code == 200


def test_progress_comes_as_events_and_without_script_by_reloading(site: Site) -> None:
    made = site.case()
    assert '<noscript><meta http-equiv="refresh"' in made.visitor.get(made.path).text
    events = []
    with made.visitor.client.stream("GET", f"{made.path}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data:"):
                events.append(json.loads(line[5:]))
                if len(events) == 1:
                    site.finish(made, Said("您好"))
    assert [e[0]["status"] for e in events[:-1]] == ["queued", "done"]
    assert events[-1] == {}
    assert "http-equiv" not in made.visitor.get(made.path).text


def test_language_switches_and_leads_nowhere_else(site: Site) -> None:
    visitor = site.visitor()
    assert 'lang="zh-CN"' in visitor.get("/").text
    assert visitor.get("/language/en?back=/rules").headers["location"] == "/rules"
    assert 'html lang="en"' in visitor.get("/").text
    for back in ("//evil.example", "https://evil.example", "/\\evil.example"):
        assert visitor.get("/language/zh", params={"back": back}).headers["location"] == "/"


@pytest.mark.parametrize("path", ["/case/AAAAAAAAAAAAAAAAAAAAAA", "/case/x/y/z", "/case/%00"])
def test_unknown_address_is_a_clear_page(site: Site, path: str) -> None:
    answer = site.visitor().get(path)
    assert answer.status_code == 404
    assert "<h1>" in answer.text
