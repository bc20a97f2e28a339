"""Answers in part, and none where nothing has changed."""

import pytest

from app.keys import Role
from models.call import Label
from tests.lenders.conftest import Said, Tenant, expect_problem


def test_call_is_given_in_part(tenant: Tenant) -> None:
    call_id = tenant.call(Said("不还就打断你的腿", (Label.THREAT,)), Said("您好"), agency="north")
    asked = "id,metadata.agency,report.summary.verdict,report.utterances.text"
    part = tenant.get(f"/v1/calls/{call_id}", params={"fields": asked})
    assert part.status_code == 200, part.text
    assert part.json() == {
        "id": call_id,
        "metadata": {"agency": "north"},
        "report": {
            "summary": {"verdict": ["threat"]},
            "utterances": [{"text": "不还就打断你的腿"}, {"text": "您好"}],
        },
    }


def test_fields_of_a_list_are_its_entries_and_the_way_on_stays(tenant: Tenant) -> None:
    ids = [tenant.call(Said("您好"), collector_id="c") for _ in range(3)]
    page = tenant.get("/v1/calls", params={"fields": "id,metadata.collector_id", "limit": 2}).json()
    assert page["calls"] == [{"id": call_id, "metadata": {"collector_id": "c"}} for call_id in ids[:0:-1]]
    rest = tenant.get("/v1/calls", params={"fields": "id", "cursor": page["next_cursor"]}).json()
    assert rest == {"calls": [{"id": ids[0]}], "next_cursor": None}
    found = tenant.get("/v1/utterances", params={"q": "您好", "fields": "call_id,text"}).json()
    assert found["utterances"] == [{"call_id": call_id, "text": "您好"} for call_id in reversed(ids)]
    cards = tenant.get("/v1/collectors", params={"fields": "name,calls"}).json()
    assert cards == {"scorecards": [{"name": "c", "calls": 3}], "next_after": None}


def test_part_of_what_is_not_there_yet_is_null(tenant: Tenant) -> None:
    call_id = tenant.call(Said("您好"))
    assert tenant.get(f"/v1/calls/{call_id}", params={"fields": "error.detail"}).json() == {"error": None}


def test_whole_and_its_part_are_the_whole(tenant: Tenant) -> None:
    call_id = tenant.call(Said("您好"))
    whole = tenant.get(f"/v1/calls/{call_id}").json()["report"]["summary"]
    for asked in ("report.summary,report.summary.verdict", "report.summary.verdict,report.summary"):
        assert tenant.get(f"/v1/calls/{call_id}", params={"fields": asked}).json()["report"]["summary"] == whole


def test_part_is_redacted_like_the_whole(tenant: Tenant) -> None:
    call_id = tenant.call(Said("打13800138000"))
    part = tenant.get(f"/v1/calls/{call_id}", Role.READ, params={"fields": "report.utterances.text"})
    assert part.json() == {"report": {"utterances": [{"text": "打***********"}]}}


@pytest.mark.parametrize("asked", ["colour", "id,", "", "id.more", "report.", "metadata.__class__", "x" * 1001])
def test_unknown_field_is_refused(tenant: Tenant, asked: str) -> None:
    expect_problem(tenant.get("/v1/calls", params={"fields": asked}), 422, "fields")


@pytest.mark.parametrize(
    "path", ["/v1/calls/{}", "/v1/calls", "/v1/utterances", "/v1/agencies", "/v1/calls/{}/reviews"]
)
def test_what_has_not_changed_is_not_sent_again(tenant: Tenant, path: str) -> None:
    call_id = tenant.call(Said("您好"), agency="a")
    path = path.format(call_id)
    first = tenant.get(path)
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        same = tenant.get(path, headers={"if-none-match": known})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
        assert same.headers["cache-control"] == first.headers["cache-control"]
    changed = tenant.get(path, headers={"if-none-match": '"other"'})
    assert (changed.status_code, changed.content) == (200, first.content)


def test_change_is_told(tenant: Tenant) -> None:
    call_id = tenant.call(Said("不还就打断你的腿", (Label.THREAT,)))
    before = {path: tenant.get(path).headers["etag"] for path in ("/v1/calls", f"/v1/calls/{call_id}/reviews")}
    tenant.post(f"/v1/calls/{call_id}/utterances/0/reviews", json={"verdict": "reject"})
    tenant.call(Said("您好"))
    for path, etag in before.items():
        assert tenant.get(path, headers={"if-none-match": etag}).status_code == 200


def test_tag_of_a_redacted_answer_is_not_that_of_the_whole(tenant: Tenant) -> None:
    path = f"/v1/calls/{tenant.call(Said('打13800138000'))}"
    redacted, whole = tenant.get(path, Role.READ), tenant.get(path, Role.READ, Role.UNREDACTED)
    assert redacted.headers["etag"] != whole.headers["etag"]
    assert redacted.headers["vary"] == "Authorization"
    assert tenant.get(path, Role.READ, headers={"if-none-match": whole.headers["etag"]}).status_code == 200
