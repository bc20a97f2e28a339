"""A request that is sent again does nothing twice."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import sqlalchemy as sa

from app import keys
from app.idempotency import forget_old
from app.keys import NewKey, Role
from app.tables import api_keys, idempotent_requests
from tests.conftest import write_tone
from tests.lenders.conftest import ALL_ROLES, Api, Said, Tenant, expect_problem


def send(tenant: Tenant, recording: Path, key: str, metadata: dict[str, Any] | None = None) -> httpx2.Response:
    told = {"metadata": json.dumps(metadata)} if metadata else {}
    form = {"files": {"file": ("a.wav", recording.read_bytes())}, "data": told}
    return tenant.post("/v1/calls", headers={"idempotency-key": key}, **form)


def count(tenant: Tenant) -> int:
    return len(tenant.get("/v1/calls").json()["calls"])


def change(api: Api, tenant: Tenant, **values: Any) -> None:
    mine = idempotent_requests.c.tenant_id == tenant.id
    with api.database.begin() as connection:
        assert connection.execute(sa.update(idempotent_requests).where(mine).values(**values)).rowcount == 1


def test_form_sent_again_is_one_call_with_one_answer(tenant: Tenant, tone: Path) -> None:
    key, metadata = str(uuid4()), {"collector_id": "c-1", "agency": "north"}
    first, second = send(tenant, tone, key, metadata), send(tenant, tone, key, dict(reversed(metadata.items())))
    assert first.request.headers["content-type"] != second.request.headers["content-type"]  # their boundaries
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.content == first.content
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert count(tenant) == 1


def test_bare_recording_is_the_same_request_as_its_form(tenant: Tenant, tone: Path) -> None:
    key = str(uuid4())
    first = send(tenant, tone, key, {"agency": "north"})
    headers = {"idempotency-key": key, "content-type": "audio/wav"}
    bare = tenant.post("/v1/calls?agency=north", headers=headers, content=tone.read_bytes())
    assert (bare.status_code, bare.content) == (202, first.content)
    assert count(tenant) == 1


def test_other_payload_under_the_same_key_is_refused(tenant: Tenant, tone: Path, tmp_path: Path) -> None:
    key = str(uuid4())
    assert send(tenant, tone, key, {"agency": "north"}).status_code == 202
    write_tone(tmp_path / "other.wav", 1.0, 999.0)
    expect_problem(send(tenant, tmp_path / "other.wav", key, {"agency": "north"}), 422, "another payload")
    expect_problem(send(tenant, tone, key, {"agency": "south"}), 422, "another payload")
    elsewhere = tenant.post("/v1/utterances/classify", headers={"idempotency-key": key}, json={"texts": ["您好"]})
    expect_problem(elsewhere, 422, "another payload")
    expect_problem(tenant.post("/v1/keys", headers={"idempotency-key": key}, json={"roles": ["read"]}), 422)
    assert count(tenant) == 1


def test_key_is_its_tenants_own(api: Api, tenant: Tenant, tone: Path) -> None:
    key, other = str(uuid4()), api.tenant()
    mine, theirs = send(tenant, tone, key).json()["id"], send(other, tone, key).json()["id"]
    assert mine != theirs
    assert (count(tenant), count(other)) == (1, 1)


def test_answer_is_given_to_nobody_but_the_api_key_that_asked(tenant: Tenant, tone: Path) -> None:
    key, form = str(uuid4()), {"file": ("a.wav", tone.read_bytes())}
    assert tenant.post("/v1/calls", headers={"idempotency-key": key}, files=form).status_code == 202
    stranger = tenant.post("/v1/calls", Role.INGEST, headers={"idempotency-key": key}, files=form)
    expect_problem(stranger, 422, "another API key")


def test_request_in_flight_is_not_begun_twice(tenant: Tenant) -> None:
    headers = {"idempotency-key": str(uuid4())}
    body = {"texts": [f"{number}号客户，您的欠款已经逾期，请尽快处理。" for number in range(1000)]}

    def ask() -> httpx2.Response:
        return tenant.post("/v1/utterances/classify", headers=headers, json=body)

    tenant.token(*ALL_ROLES)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask)
        meanwhile = []
        while not first.done():
            time.sleep(0.02)
            meanwhile.append(ask())
    answers = [first.result(), *meanwhile]  # any of them may have been the one to begin
    refused = [answer for answer in answers if answer.status_code == 409]
    assert refused, [answer.status_code for answer in answers]
    expect_problem(refused[0], 409, "not answered yet")
    assert refused[0].headers["retry-after"]
    again = ask()
    assert {answer.content for answer in answers if answer.status_code == 200} | {again.content} == {again.content}
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"


def test_refused_request_leaves_its_key_free(tenant: Tenant, tone: Path, tmp_path: Path) -> None:
    key = str(uuid4())
    expect_problem(send(tenant, tone, key, {"colour": "red"}), 422, "colour")
    (tmp_path / "no.wav").write_bytes(b"this is no recording" * 50)
    expect_problem(send(tenant, tmp_path / "no.wav", key), 415)
    headers = {"idempotency-key": key}
    expect_problem(tenant.post("/v1/calls/unknown/utterances/0/reviews", headers=headers, json={}), 422)
    reviewed = tenant.post("/v1/calls/unknown/utterances/0/reviews", headers=headers, json={"verdict": "confirm"})
    expect_problem(reviewed, 404)
    assert send(tenant, tone, key).status_code == 202
    assert count(tenant) == 1


def test_new_key_is_told_again_and_stored_nowhere(api: Api, tenant: Tenant) -> None:
    headers = {"idempotency-key": str(uuid4())}
    first = tenant.post("/v1/keys", headers=headers, json={"roles": ["read"], "name": "crm"})
    second = tenant.post("/v1/keys", headers=headers, content=b'{ "name": "crm",  "roles": ["read"] }')
    assert first.status_code == second.status_code == 201
    assert second.json()["token"] == first.json()["token"]
    assert second.headers["cache-control"] == "no-store"
    with api.database.connect() as connection:
        mine = connection.execute(sa.select(api_keys).where(api_keys.c.tenant_id == tenant.id)).all()
        kept = connection.execute(sa.select(idempotent_requests.c.answer)).scalars().all()
    assert len(mine) == 2  # this one and the administrator's
    secret = first.json()["token"].split("_", 2)[2].encode()
    assert kept
    assert not [answer for answer in kept if answer and secret in answer]


def test_review_sent_again_is_one_review(tenant: Tenant) -> None:
    call_id, headers = tenant.call(Said("您好")), {"idempotency-key": str(uuid4())}
    path = f"/v1/calls/{call_id}/utterances/0/reviews"
    first, second = (tenant.post(path, headers=headers, json={"verdict": "reject"}) for _ in range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert len(tenant.get(f"/v1/calls/{call_id}/reviews").json()["reviews"]) == 1


def test_key_means_something_new_after_a_day(api: Api, tenant: Tenant, tone: Path) -> None:
    key = str(uuid4())
    first = send(tenant, tone, key).json()["id"]
    change(api, tenant, claimed_at=datetime.now(UTC) - timedelta(hours=23, minutes=59))
    assert send(tenant, tone, key).json()["id"] == first
    change(api, tenant, claimed_at=datetime.now(UTC) - timedelta(hours=24, seconds=1))
    assert send(tenant, tone, key).json()["id"] != first
    assert count(tenant) == 2


def test_sweep_forgets_what_is_a_day_old(api: Api, tenant: Tenant, tone: Path) -> None:
    other = api.tenant()
    for one in (tenant, other):
        assert send(one, tone, str(uuid4())).status_code == 202
    change(api, tenant, claimed_at=datetime.now(UTC) - timedelta(hours=25))
    forget_old(api.database)
    with api.database.connect() as connection:
        left = set(connection.execute(sa.select(idempotent_requests.c.tenant_id)).scalars())
    assert tenant.id not in left
    assert other.id in left


def test_call_whose_sender_got_no_answer_is_found_and_not_taken_twice(api: Api, tenant: Tenant, tone: Path) -> None:
    key = str(uuid4())
    first = send(tenant, tone, key)
    # As a service leaves it that was killed after it had stored the call and before it could answer.
    change(api, tenant, answer=None)
    expect_problem(send(tenant, tone, key), 409, "not answered yet")
    change(api, tenant, alive_at=datetime.now(UTC) - timedelta(minutes=2))
    again = send(tenant, tone, key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert count(tenant) == 1


def test_repeated_call_passes_the_quota_that_it_used_up(api: Api, tenant: Tenant, tone: Path) -> None:
    with api.database.begin() as connection:
        token = keys.create(connection, NewKey(tenant.id, ALL_ROLES, calls_per_day=1))[1]

    def post(key: str) -> httpx2.Response:
        headers = {"authorization": f"Bearer {token}", "idempotency-key": key}
        return api.client.post("/v1/calls", headers=headers, files={"file": ("a.wav", tone.read_bytes())})

    assert post("first").status_code == 202
    assert post("first").status_code == 202
    expect_problem(post("second"), 429)


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\there"])
def test_key_that_is_none_is_refused(tenant: Tenant, tone: Path, key: str) -> None:
    expect_problem(send(tenant, tone, key), 400, "255")
    assert count(tenant) == 0
