"""Programs are killed for real here; what a lender was to be told is told."""

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.conftest import CALLS, Program, Start
from tests.lenders.receiver import Receiver, receiver

OWN = {"CALLAUDIT_WEBHOOK_PRIVATE_NETWORKS": "127.0.0.0/8", "CALLAUDIT_WORKER_TIMEOUT_SECONDS": "2"}
HTTP_ONLY = ("serve", "--port", "0", "--no-worker")


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "sqlite":
        return dict(OWN)
    return {**OWN, "CALLAUDIT_DATABASE_URL": request.getfixturevalue("postgres_database")}


def change(where: dict[str, str], data_dir: Path, statement: str) -> None:
    if url := where.get("CALLAUDIT_DATABASE_URL"):
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(statement)
        return
    connection = sqlite3.connect(data_dir / "callaudit.db")
    with connection:
        connection.execute(statement)
    connection.close()


def made(service: Program, lender: Receiver) -> tuple[str, str]:
    answer = httpx2.post(f"{service.url}/v1/webhooks", json={"url": lender.url}, timeout=60)
    assert answer.status_code == 201, answer.text
    return answer.json()["webhook"]["id"], answer.json()["secret"]


def until(wanted: Callable[[], Any], within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def free_port() -> int:
    with receiver() as nobody:
        return nobody.port


def test_message_outlives_the_worker_that_was_killed_with_it_in_hand(
    start_program: Start, tmp_path: Path, where: dict[str, str]
) -> None:
    service = start_program(tmp_path, *HTTP_ONLY, settings=where)
    release = threading.Event()
    with receiver() as lender:
        _, secret = made(service, lender)

        def hang() -> None:
            release.wait(60)

        lender.before = hang
        first = start_program(tmp_path, "worker", settings={**where, "CALLAUDIT_EXECUTOR_ID": "a"})
        call_id = service.accepted(CALLS / "fake-police.mp3")
        until(lambda: lender.requests)
        first.kill()
        lender.before = lambda: None
        release.set()
        change(where, tmp_path, "UPDATE webhook_messages SET due_at = created_at")  # its claim has run out
        port = free_port()
        settings = {**where, "CALLAUDIT_EXECUTOR_ID": "b", "CALLAUDIT_METRICS_PORT": str(port)}
        second = start_program(tmp_path, "worker", settings=settings)
        messages = f"/v1/webhooks/{made_id(service)}/messages"
        until(lambda: all(m["state"] == "delivered" for m in service.get(messages).json()["messages"]))
        events = lender.events(secret)
        told = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
        assert second.stop() == 0
    assert [event["type"] for event in events[:2]] == ["call.done", "call.done"]
    assert lender.ids[0] == lender.ids[1]
    assert all(event["data"]["call"]["id"] == call_id for event in events)
    assert f'callaudit_webhook_attempts_total{{became="delivered"}} {len(events) - 1}.0' in told
    assert "callaudit_queue_calls" in told
    assert secret.removeprefix("whsec_") not in second.log + service.log


def made_id(service: Program) -> str:
    return str(service.get("/v1/webhooks").json()["webhooks"][0]["id"])


def test_service_delivers_to_no_private_address_unless_it_is_told_to(start_program: Start, tmp_path: Path) -> None:
    service = start_program(tmp_path)
    with receiver() as inside:
        refused = httpx2.post(f"{service.url}/v1/webhooks", json={"url": inside.url}, timeout=60)
        assert refused.status_code == 422
        assert "CALLAUDIT_WEBHOOK_PRIVATE_NETWORKS" in refused.json()["detail"]
        # A name tells nothing until it is resolved, which is when the connection is made.
        url = f"https://localhost:{inside.port}/hook"
        webhook = httpx2.post(f"{service.url}/v1/webhooks", json={"url": url}, timeout=60).json()["webhook"]
        service.finished(service.accepted(CALLS / "fake-police.mp3"))
        messages = f"/v1/webhooks/{webhook['id']}/messages"
        until(lambda: service.get(messages).json()["messages"][-1]["attempts"])
        service.wait_for("is not a public address")
        assert inside.requests == []


def test_metrics_port_in_use_is_named(start_program: Start, tmp_path: Path) -> None:
    with receiver() as other:
        program = start_program(tmp_path, "worker", settings={"CALLAUDIT_METRICS_PORT": str(other.port)})
        assert program.process.wait(120) == 2
    program.wait_for("CALLAUDIT_METRICS_PORT: cannot serve metrics")
