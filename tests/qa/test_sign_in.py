"""Who may enter, for how long, and from where."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import sqlalchemy as sa

from app import keys
from app.keys import Role
from app.tables import qa_sessions
from tests.conftest import Program
from tests.qa.conftest import House, Office


def test_key_opens_a_session_that_scripts_cannot_read(office: Office) -> None:
    analyst = office.analyst(signed_in=False)
    sent_away = analyst.get("/qa?label=threat")
    assert sent_away.status_code == 303
    assert sent_away.headers["location"] == "/qa/sign-in?back=%2Fqa%3Flabel%3Dthreat"
    answer = analyst.sign_in(back="/qa?label=threat")
    assert (answer.status_code, answer.headers["location"]) == (303, "/qa?label=threat")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/qa" in cookie
    assert "max-age=43200" in cookie
    assert analyst.token not in cookie
    assert analyst.get("/qa").status_code == 200


def test_sign_out_ends_the_session_and_not_only_the_cookie(office: Office) -> None:
    analyst = office.analyst()
    secret = analyst.client.cookies["qa_session"]
    assert analyst.post("/qa/sign-out").status_code == 303
    with httpx2.Client(base_url=office.program.url, cookies={"qa_session": secret}) as thief:
        assert thief.get("/qa").status_code == 303


def test_session_ends_with_its_time_and_with_its_key(office: Office) -> None:
    late, revoked = office.analyst(), office.analyst()
    with office.database.begin() as connection:
        over = sa.update(qa_sessions).where(qa_sessions.c.key_prefix == late.prefix)
        connection.execute(over.values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
        keys.revoke(connection, revoked.prefix)
    assert late.get("/qa").status_code == 303
    assert revoked.get("/qa").status_code == 303
    told = late.post("/qa/filters", name="x", query="label=threat")
    assert told.status_code == 401
    assert "登录已经结束" in told.text


@pytest.mark.parametrize("back", ["//elsewhere.example", "https://elsewhere.example", "/\\elsewhere", "/v1/calls", ""])
def test_sign_in_leads_nowhere_else(office: Office, back: str) -> None:
    assert office.analyst(signed_in=False).sign_in(back=back).headers["location"] == "/qa"


def test_wrong_keys_are_refused_and_limited_as_elsewhere(office: Office) -> None:
    analyst = office.analyst(signed_in=False)
    forged = analyst.token[:-5] + ("AAAAA" if analyst.token[-5:] != "AAAAA" else "BBBBB")
    for _ in range(10):
        assert analyst.post("/qa/sign-in", key=forged).status_code == 401
    limited = analyst.sign_in()
    assert limited.status_code == 429
    assert limited.headers["retry-after"] == "60"
    assert "qa_session" not in analyst.client.cookies
    by_key = analyst.rest("GET", "/v1/calls")
    assert by_key.status_code == 429  # the same count, whichever door is tried


def test_key_without_the_role_read_does_not_enter(office: Office) -> None:
    answer = office.analyst(Role.INGEST, signed_in=False).sign_in()
    assert answer.status_code == 403
    assert "read" in answer.text


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://elsewhere.example"}],
)
def test_forms_of_other_sites_are_refused(office: Office, headers: dict[str, str]) -> None:
    analyst = office.analyst()
    answer = analyst.post("/qa/filters", headers=headers, name="x", query="label=threat")
    assert answer.status_code == 403
    assert "别的网站" in answer.text
    assert "<bdi>x</bdi>" not in analyst.get("/qa").text


def test_requests_of_a_session_count_for_its_key(house: House) -> None:
    office = house.office()
    with house.database.begin() as connection:
        _, token = keys.create(connection, keys.NewKey(office.id, frozenset({Role.READ}), requests_per_minute=2))
    with httpx2.Client(base_url=house.program.url) as client:
        client.post("/qa/sign-in", data={"key": token})
        assert [client.get("/qa").status_code for _ in range(3)] == [200, 200, 429]


def test_every_page_forbids_foreign_content_and_caching(office: Office) -> None:
    analyst = office.analyst()
    for path in ("/qa", "/qa/sign-in", "/qa/nothing", "/qa/calls/unknown"):
        headers = analyst.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"], path
        assert headers["cache-control"] == "no-store", path


def test_without_any_key_this_machine_needs_no_sign_in(service: Program) -> None:
    assert service.get("/qa").status_code == 200
    assert service.get("/qa/sign-in").headers["location"] == "/qa"
    assert service.get("/qa", headers={"host": "rebound.example"}).status_code == 403
