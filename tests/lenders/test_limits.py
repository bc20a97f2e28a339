"""Nobody takes more than their share."""

from pathlib import Path

from app import keys
from app.keys import NewKey, Role
from tests.lenders.conftest import ALL_ROLES, Api, Tenant, expect_problem


def limited(api: Api, tenant: Tenant, requests: int | None = None, calls: int | None = None) -> dict[str, str]:
    new = NewKey(tenant.id, ALL_ROLES, requests_per_minute=requests, calls_per_day=calls)
    with api.database.begin() as connection:
        return {"authorization": f"Bearer {keys.create(connection, new)[1]}"}


def test_key_has_its_requests_a_minute_and_is_told_what_is_left(api: Api, tenant: Tenant) -> None:
    headers = limited(api, tenant, requests=3)
    answers = [api.client.get("/v1/calls", headers=headers) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["ratelimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0", "r=0"]
    assert answers[0].headers["ratelimit-policy"] == '"key";q=3;w=60'
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    expect_problem(answers[3], 429, "3 requests a minute")
    assert api.client.get("/v1/calls", headers=limited(api, tenant, requests=3)).status_code == 200


def test_key_without_limits_is_not_counted(tenant: Tenant) -> None:
    assert "ratelimit" not in tenant.get("/v1/calls", Role.READ).headers


def test_key_has_its_calls_a_day(api: Api, tenant: Tenant, tone: Path) -> None:
    headers = limited(api, tenant, calls=2)
    sent = [
        api.client.post("/v1/calls", headers=headers, files={"file": ("a.wav", tone.read_bytes())}) for _ in range(3)
    ]
    assert [answer.status_code for answer in sent] == [202, 202, 429]
    expect_problem(sent[2], 429, "2 calls in 24 hours")
    assert len(tenant.get("/v1/calls").json()["calls"]) == 2
