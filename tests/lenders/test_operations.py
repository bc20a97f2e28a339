"""The service tells how it fares: metrics, readiness, and what the doctor finds, on either database."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from starlette.testclient import TestClient

from app import calls, webhooks
from app.config import Settings
from app.doctor import examine
from app.jobs import Scoring
from app.keys import Role
from app.main import create_app
from app.tables import calls as call_rows
from app.tables import webhook_messages
from app.webhooks import NewWebhook
from pipelines.score import Engine
from tests.conftest import CALLS, ROOT, Program
from tests.lenders.conftest import Api, Said, Tenant, expect_problem, new_database

TOKEN = "a-token-of-many-characters"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics_token": SecretStr(TOKEN)})


def read(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of labels."""
    return {
        (sample.name, *(str(value) for value in sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics(api: Api) -> dict[tuple[str, ...], float]:
    answer = api.client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return read(answer.text)


def test_queue_is_counted_with_the_age_of_its_oldest(api: Api, tenant: Tenant) -> None:
    with api.database.begin() as connection:
        connection.execute(sa.delete(call_rows))
    found = metrics(api)
    assert found["callaudit_queue_calls", "queued"] == 0
    assert found["callaudit_queue_oldest_seconds",] == 0
    assert found["callaudit_database_up",] == 1
    first, second = tenant.queued_call(), tenant.queued_call()
    tenant.call(Said("您好"))
    with api.database.begin() as connection:
        values = {"received_at": datetime.now(UTC) - timedelta(hours=1)}
        connection.execute(sa.update(call_rows).where(call_rows.c.id == first).values(values))
    calls.begin(api.database, second)
    found = metrics(api)
    assert found["callaudit_queue_calls", "queued"] == 1
    assert found["callaudit_queue_calls", "processing"] == 1
    assert 3600 <= found["callaudit_queue_oldest_seconds",] < 3700


def test_messages_that_wait_and_that_were_given_up_are_counted(api: Api, tenant: Tenant) -> None:
    new = NewWebhook(tenant.id, "https://lender.example/", tuple(webhooks.EventType))
    with api.database.begin() as connection:
        connection.execute(sa.delete(webhook_messages))
        webhooks.create(connection, new, api.settings.keyring)
    tenant.call(Said("您好"))
    assert metrics(api)["callaudit_webhook_messages", "pending"] == 1
    with api.database.begin() as connection:
        connection.execute(sa.update(webhook_messages).values(state="dead"))
    found = metrics(api)
    assert found["callaudit_webhook_messages", "dead"] == 1
    assert found["callaudit_webhook_messages", "pending"] == 0


def test_requests_are_counted_by_route_and_not_by_id(api: Api, tenant: Tenant) -> None:
    for call_id in ("one", "two"):
        tenant.get(f"/v1/calls/{call_id}")
    api.client.request("BREW", "/v1/nowhere")
    found = metrics(api)
    assert found["callaudit_http_request_seconds_count", "GET", "/v1/calls/{call_id}", "404"] == 2
    assert found["callaudit_http_request_seconds_count", "other", "unknown path", "404"] == 1
    assert "BREW" not in str(found)


def test_work_is_counted(api: Api, tenant: Tenant, engine: Engine) -> None:
    scoring = Scoring(api.settings, engine, api.database, api.recordings)
    call_id = tenant.queued_call((CALLS / "fake-police.mp3").read_bytes())
    scoring(call_id)
    scoring(tenant.queued_call(b"this is no sound"))
    found = read(scoring.metrics.text().decode())
    report = tenant.get(f"/v1/calls/{call_id}").json()["report"]
    assert found["callaudit_calls_total", "done"] == 1
    assert found["callaudit_calls_total", "failed"] == 1
    assert found["callaudit_errors_total", "unknown-format"] == 1
    assert found["callaudit_audio_seconds_total",] == pytest.approx(report["recording"]["duration"])
    assert found["callaudit_real_time_factor_count",] == 1
    assert found["callaudit_real_time_factor_sum",] == pytest.approx(
        found["callaudit_work_seconds_total",] / found["callaudit_audio_seconds_total",]
    )
    labels = {label: number for (name, label, *_), number in _labelled(found) if name == "callaudit_utterances_total"}
    assert labels == {
        label: float(sum(u["label"] == label for u in report["utterances"]))
        for label in {u["label"] for u in report["utterances"]}
    }


def _labelled(found: dict[tuple[str, ...], float]) -> Iterator[tuple[tuple[str, ...], float]]:
    return ((key, value) for key, value in found.items() if len(key) > 1)


def test_metrics_want_the_token(api: Api, tenant: Tenant) -> None:
    for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {tenant.token(Role.ADMIN)}"}):
        answer = api.client.get("/metrics", headers=header)
        expect_problem(answer, 401, "CALLAUDIT_METRICS_TOKEN")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_metrics_without_a_token_are_for_this_machine_alone(api: Api, engine: Engine) -> None:
    app = create_app(api.settings.model_copy(update={"metrics_token": None}), engine, None)
    for host, headers, status in (
        ("127.0.0.1", {}, 200),
        ("203.0.113.7", {}, 403),
        ("127.0.0.1", {"x-forwarded-for": "203.0.113.7"}, 403),
    ):
        with TestClient(app, base_url="http://127.0.0.1", client=(host, 1)) as client:
            assert client.get("/metrics", headers=headers).status_code == status, (host, headers)


@contextmanager
def at_version(api: Api, version: str) -> Iterator[None]:
    """The tables say that they are of another version."""
    reached = sa.table("alembic_version", sa.column("version_num"))
    with api.database.begin() as connection:
        before = connection.execute(sa.select(reached.c.version_num)).scalar_one()
        connection.execute(sa.update(reached).values(version_num=version))
    try:
        yield
    finally:
        with api.database.begin() as connection:
            connection.execute(sa.update(reached).values(version_num=before))


def test_readiness_names_the_migration_that_is_missing(api: Api) -> None:
    with at_version(api, "0001"):
        problem = expect_problem(api.client.get("/readyz"), 503, "version 0001")
    assert [fault["field"] for fault in problem["faults"]] == ["migration"]
    assert api.client.get("/readyz").json() == {"status": "ready"}


def test_readiness_names_the_recordings_that_are_missing(api: Api) -> None:
    folder = Path(api.settings.recordings)
    folder.rename(folder.with_name("elsewhere"))
    try:
        answer = api.client.get("/readyz")
    finally:
        folder.with_name("elsewhere").rename(folder)
    assert answer.headers["retry-after"]
    problem = expect_problem(answer, 503, "recordings")
    assert [fault["field"] for fault in problem["faults"]] == ["recordings"]
    assert str(folder) not in answer.text


def test_readiness_names_the_database_that_is_missing(postgres: str, engine: Engine, tmp_path: Path) -> None:
    url = new_database(postgres)
    app = create_app(Settings(data_dir=tmp_path, database_url=SecretStr(url), threads=1), engine, None)
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        assert client.get("/readyz").status_code == 200
        name = url.rpartition("/")[2]
        with psycopg.connect(postgres, autocommit=True) as server:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            answer = client.get("/readyz")
            found = read(client.get("/metrics").text)
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        problem = expect_problem(answer, 503, "database")
        assert [fault["field"] for fault in problem["faults"]] == ["database"]
        assert found["callaudit_database_up",] == 0
        assert ("callaudit_queue_calls", "queued") not in found
        assert client.get("/readyz").status_code == 200


PARTS = ["models", "database", "migration", "storage", "disk", "timestamps", "clock", "port", "metrics"]


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def test_doctor_finds_a_running_installation_in_order(api: Api, free_port: int) -> None:
    found = list(examine(api.settings, "127.0.0.1", free_port))
    assert [one.part for one in found] == PARTS
    assert [one for one in found if not one.fine] == []
    assert all("\n" not in one.told for one in found)
    stored = [file for file in Path(api.settings.recordings).rglob("*") if file.is_file() and "doctor" in file.name]
    assert stored == []


def test_doctor_makes_nothing_of_what_is_not_there_yet(settings: Settings, tmp_path: Path, free_port: int) -> None:
    fresh = Settings(data_dir=tmp_path / "data", threads=1)
    found = {one.part: one for one in examine(fresh, "127.0.0.1", free_port)}
    assert all(one.fine for one in found.values())
    assert "first start" in found["database"].told
    assert not (tmp_path / "data" / "callaudit.db").exists()
    assert [file for file in (tmp_path / "data").rglob("*") if file.is_file()] == []


def test_doctor_names_tables_of_another_version(api: Api, free_port: int) -> None:
    with at_version(api, "0001"):
        wrong = [one for one in examine(api.settings, "127.0.0.1", free_port) if not one.fine]
    assert [(one.part, "0001" in one.told) for one in wrong] == [("migration", True)]


def doctor(data_dir: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CALLAUDIT_")}
    environment |= {"CALLAUDIT_DATA_DIR": str(data_dir), **settings}
    command = [sys.executable, "-m", "app.cli", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300, check=False)


def test_command_tells_one_line_a_check_and_fails_if_one_is_wrong(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        done = doctor(
            tmp_path,
            "--port",
            str(port),
            CALLAUDIT_ASR_MODEL="/nowhere",
            CALLAUDIT_DATABASE_URL="postgresql://me:hunter2@127.0.0.1:1/calls",
            CALLAUDIT_RECORDINGS_URL="/dev/null/recordings",
            CALLAUDIT_TIMESTAMP_ROOTS="/no/such/roots.pem",
        )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == PARTS
    wrong = {line.split()[1] for line in lines if line.startswith("WRONG")}
    assert wrong == {"models", "database", "migration", "storage", "timestamps", "clock", "port"}
    assert "CALLAUDIT_ASR_MODEL" in lines[0]
    assert "another program" in lines[PARTS.index("port")]
    assert "CALLAUDIT_TIMESTAMP_ROOTS=/no/such/roots.pem" in lines[PARTS.index("timestamps")]
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_command_knows_the_service_by_its_voice(service: Program, tmp_path: Path) -> None:
    done = doctor(tmp_path, "--port", service.url.rpartition(":")[2])
    assert done.returncode == 0, done.stdout
    assert "the service listens" in done.stdout
