"""Nobody sees what is not theirs."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from app import keys
from app.config import Settings
from app.keys import NewKey, Role
from app.main import create_app
from app.tables import api_keys
from pipelines.score import Engine
from tests.conftest import ROOT, Start
from tests.lenders.conftest import ALL_ROLES, Api, Said, Tenant, expect_problem

# What must be open: whether the service runs, and what it speaks.
PUBLIC = {"/healthz", "/readyz", "/v1/schema/report.json"}


def operations(api: Api) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in api.client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def filled(path: str, call_id: str) -> str:
    names = {"call_id": call_id, "index": "0"}
    return re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], "some"), path)


def test_no_route_answers_without_a_key(api: Api, tenant: Tenant) -> None:
    call_id = tenant.call(Said("您好"))
    walked = 0
    for method, path, operation in operations(api):
        answer = api.client.request(method, filled(path, call_id), headers={"x-forwarded-for": path})
        if path in PUBLIC:
            assert answer.status_code == 200, (method, path)
            continue
        assert answer.status_code in (401, 429), (method, path, answer.text)
        assert operation["security"], (method, path)
        walked += 1
    assert walked >= 8


def test_no_route_shows_another_tenants_call(api: Api, tenant: Tenant) -> None:
    secret = "只有失主知道的话"
    call_id = tenant.call(Said(secret), collector_id="walked", agency="walked")
    before = tenant.get(f"/v1/calls/{call_id}").json()
    stranger = api.tenant()
    for method, path, _ in operations(api):
        answer = stranger.request(
            method, filled(path, call_id), json={} if method in ("POST", "PUT", "PATCH") else None
        )
        assert secret not in answer.text, (method, path)
        if "{call_id}" in path:
            assert answer.status_code in (404, 415, 422), (method, path, answer.text)
        else:
            assert call_id not in answer.text, (method, path)
            assert "walked" not in answer.text, (method, path)
    assert tenant.get(f"/v1/calls/{call_id}").json() == before


def test_every_route_asks_for_a_role(api: Api, tenant: Tenant) -> None:
    call_id = tenant.call(Said("您好"))
    with api.database.begin() as connection:
        token = keys.create(connection, NewKey(tenant.id, frozenset()))[1]
    for method, path, _ in operations(api):
        if path in PUBLIC:
            continue
        answer = api.client.request(method, filled(path, call_id), headers={"authorization": f"Bearer {token}"})
        assert answer.status_code in (403, 415, 422), (method, path, answer.text)


@pytest.mark.parametrize(
    ("role", "method", "path", "allowed"),
    [
        (Role.READ, "GET", "/v1/calls", True),
        (Role.INGEST, "GET", "/v1/calls", False),
        (Role.READ, "DELETE", "/v1/calls/{}", False),
        (Role.ADMIN, "DELETE", "/v1/calls/{}", True),
        (Role.ADMIN, "GET", "/v1/calls/{}", False),
        (Role.READ, "GET", "/v1/keys", False),
        (Role.ADMIN, "GET", "/v1/keys", True),
    ],
)
def test_role_opens_its_own_routes_only(tenant: Tenant, role: Role, method: str, path: str, allowed: bool) -> None:
    answer = tenant.request(method, path.format(tenant.call(Said("您好"))), role)
    if allowed:
        assert answer.is_success, answer.text
    else:
        expect_problem(answer, 403, "role")


def test_same_recording_of_two_tenants_is_two_objects(api: Api, tenant: Tenant) -> None:
    other = api.tenant()
    content = b"the very same bytes"
    mine, theirs = tenant.call(Said("一"), content=content), other.call(Said("二"), content=content)
    assert tenant.request("DELETE", f"/v1/calls/{mine}").status_code == 204
    assert other.get(f"/v1/calls/{theirs}/audio").content == content
    expect_problem(tenant.get(f"/v1/calls/{mine}/audio"), 404)


def test_key_is_shown_once_and_stored_hashed(api: Api, tenant: Tenant) -> None:
    made = tenant.post("/v1/keys", json={"name": "dialler", "roles": ["ingest", "read"]})
    assert made.status_code == 201, made.text
    token, shown = made.json()["token"], made.json()["key"]
    assert shown["prefix"] in token
    assert made.headers["cache-control"] == "no-store"
    listed = tenant.get("/v1/keys")
    assert shown["prefix"] in listed.text
    secret = token.split("_", 2)[2]
    assert secret not in listed.text
    with api.database.connect() as connection:
        assert secret not in repr(connection.execute(sa.select(api_keys)).all())
    assert api.client.get("/v1/calls", headers={"authorization": f"Bearer {token}"}).status_code == 200


def test_last_use_is_noted(api: Api, tenant: Tenant) -> None:
    prefix = keys.prefix_of(tenant.token(Role.READ))
    assert [key.last_used_at for key in keys.listed(api.database, tenant.id)] == [None]
    tenant.get("/v1/calls", Role.READ)
    (key,) = (key for key in keys.listed(api.database, tenant.id) if key.prefix == prefix)
    assert key.last_used_at
    assert datetime.now(UTC) - key.last_used_at < timedelta(minutes=1)


def test_revoked_key_opens_nothing(tenant: Tenant) -> None:
    token = tenant.token(Role.READ)
    assert tenant.get("/v1/calls", Role.READ).status_code == 200
    assert tenant.request("DELETE", f"/v1/keys/{keys.prefix_of(token)}").json()["revoked_at"]
    expect_problem(tenant.get("/v1/calls", Role.READ), 401)


def test_expired_key_opens_nothing(api: Api, tenant: Tenant) -> None:
    with api.database.begin() as connection:
        soon = datetime.now(UTC) - timedelta(seconds=1)
        token = keys.create(connection, NewKey(tenant.id, ALL_ROLES, expires_at=soon))[1]
    expect_problem(api.client.get("/v1/calls", headers={"authorization": f"Bearer {token}"}), 401)


def test_key_of_another_tenant_cannot_be_revoked(api: Api, tenant: Tenant) -> None:
    token = tenant.token(Role.READ)
    expect_problem(api.tenant().request("DELETE", f"/v1/keys/{keys.prefix_of(token)}"), 404)
    assert tenant.get("/v1/calls", Role.READ).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"roles": []}, "roles"),
        ({"roles": ["king"]}, "roles"),
        ({"roles": ["read", "read"]}, "roles: Value error, names one of them twice"),
        ({"roles": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "future"),
        ({"roles": ["read"], "tenant": "other"}, "tenant"),
        ({"roles": ["read"], "calls_per_day": 0}, "calls_per_day"),
    ],
)
def test_key_that_makes_no_sense_is_refused(tenant: Tenant, wanted: dict[str, Any], words: str) -> None:
    expect_problem(tenant.post("/v1/keys", json=wanted), 422, words)


FORGED = [
    "Bearer nonsense",
    "Bearer cak_000000000000_" + "a" * 43,
    "Basic YWRtaW46YWRtaW4=",
    "Bearer ",
    "Bearer eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYWRtaW4ifQ.",
    "Bearer cak_000000000000_' OR 1=1 --",
]


@pytest.mark.parametrize("header", FORGED)
def test_forged_key_opens_nothing(settings: Settings, engine: Engine, header: str) -> None:
    with TestClient(create_app(settings, engine, None), base_url="http://127.0.0.1") as client:
        answer = client.get("/v1/calls", headers={"authorization": header})
        expect_problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_guesses_at_a_key_are_limited_and_lock_out_nobody_else(settings: Settings, engine: Engine, api: Api) -> None:
    tenant = api.tenant()
    good, other = tenant.token(Role.READ), tenant.token(Role.ADMIN)
    with TestClient(create_app(settings, engine, None), base_url="http://127.0.0.1") as client:

        def get(token: str, path: str = "/v1/calls") -> Any:
            return client.get(path, headers={"authorization": f"Bearer {token}"})

        guess = good[:-43] + "b" * 43
        assert [get(guess).status_code for _ in range(12)] == [401] * 10 + [429] * 2
        assert get(guess).headers["retry-after"]
        assert get(other, "/v1/keys").status_code == 200
        # A guesser must not learn from the answer that the guess was right at last.
        assert get(good).status_code == 429


def test_key_is_looked_at_before_the_body(api: Api, tenant: Tenant) -> None:
    headers = {"content-type": "application/json", "authorization": "Bearer cak_x"}
    expect_problem(api.client.post("/v1/keys", content=b"[" * 2**21, headers=headers), 401)
    large = tenant.post("/v1/keys", content=b"[" * 2**21, headers={"content-type": "application/json"})
    expect_problem(large, 413, "larger")


def callaudit(data_dir: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "CALLAUDIT_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120, check=False)


def test_command_prints_the_key_alone(tmp_path: Path) -> None:
    made = callaudit(tmp_path, "keys", "create", "--tenant", "north-bank", "--roles", "ingest,read", "--name", "crm")
    assert made.returncode == 0, made.stderr
    token = made.stdout.removesuffix("\n")
    prefix = keys.prefix_of(token)
    assert prefix
    listed = callaudit(tmp_path, "keys", "list")
    assert listed.stdout.split("\t")[:4] == [prefix, "north-bank", "ingest,read", "valid"]
    assert token not in listed.stdout + listed.stderr + made.stderr
    assert callaudit(tmp_path, "keys", "revoke", prefix).returncode == 0
    assert "revoked" in callaudit(tmp_path, "keys", "list", "--tenant", "north-bank").stdout
    assert callaudit(tmp_path, "keys", "list", "--tenant", "south-bank").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "--tenant", "../etc", "--roles", "read"], "tenant"),
        (["create", "--tenant", "a", "--roles", "king"], "king"),
        (["revoke", "000000000000"], "000000000000"),
    ],
)
def test_wrong_command_is_told(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = callaudit(tmp_path, "keys", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_service_without_keys_listens_on_loopback_only_and_says_so(tmp_path: Path, start_program: Start) -> None:
    refused = callaudit(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - it must be refused
    assert refused.returncode == 2
    assert "callaudit keys create" in refused.stderr
    assert refused.stderr.count("\n") == 1
    program = start_program(tmp_path)
    program.wait_for("no API key is made yet")
    assert program.get("/v1/calls").status_code == 200
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}):
        expect_problem(program.get("/v1/calls", headers=headers), 403)
    assert program.get("/v1/calls", headers={"origin": program.url}).status_code == 200
    token = callaudit(tmp_path, "keys", "create", "--tenant", "default", "--roles", "read").stdout.strip()
    assert program.get("/v1/calls").status_code == 401
    assert program.get("/v1/calls", headers={"authorization": f"Bearer {token}"}).status_code == 200
    assert token.split("_", 2)[2] not in program.log
    assert program.stop() == 0
    open_to_all = start_program(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0", "--no-worker")  # noqa: S104
    assert "no API key" not in open_to_all.log
    open_to_all.stop()
