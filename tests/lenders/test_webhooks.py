"""What happens to a call is told, signed, in order, once it is true, until it arrives."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.testclient import TestClient

from app import audit, calls
from app.config import Settings
from app.errors import refusal
from app.keys import Role
from app.main import create_app
from app.tables import webhook_messages, webhooks
from app.webhooks import GIVE_UP_AFTER
from app.webhooks_connection import Post
from app.webhooks_delivery import Deliverer, forget_settled
from models.call import Label
from pipelines.score import Engine
from tests.lenders.conftest import ALL_ROLES, Api, Said, Tenant, expect_problem
from tests.lenders.receiver import Receiver, receiver

THREAT = Label.THREAT
OWN = (ip_network("127.0.0.0/8"),)
NUMBER = "打一六三零零一二三四五六"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhook_private_networks": OWN})


@pytest.fixture
def lender() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def deliverer(api: Api) -> Deliverer:
    with api.database.begin() as connection:  # other tests' leftovers would be delivered too
        connection.execute(sa.delete(webhooks))
    return Deliverer(api.database, api.settings.keyring, Post(OWN, within_s=2), lambda _: None)


def made(tenant: Tenant, url: str, *roles: Role, **wanted: Any) -> tuple[str, str]:
    answer = tenant.post("/v1/webhooks", *roles, json={"url": url, **wanted})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["webhook"]["id"], answer.json()["secret"]


def failed_call(tenant: Tenant) -> str:
    call_id = tenant.queued_call()
    attempt = calls.begin(tenant.api.database, call_id)
    assert attempt
    calls.fail(tenant.api.database, attempt, refusal(500, "job given up", "the service died").problem)
    return call_id


def drain(deliverer: Deliverer) -> int:
    sent = 0
    while deliverer.deliver_one():
        sent += 1
        assert sent < 100
    return sent


def change(api: Api, **values: Any) -> None:
    with api.database.begin() as connection:
        connection.execute(sa.update(webhook_messages).values(values))


def states(tenant: Tenant, webhook_id: str) -> list[str]:
    answer = tenant.get(f"/v1/webhooks/{webhook_id}/messages")
    assert answer.status_code == 200, answer.text
    return [message["state"] for message in reversed(answer.json()["messages"])]


def test_finished_call_is_told_signed_and_redacted(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    _, secret = made(tenant, lender.url)
    call_id = tenant.call(Said("您好"), Said(f"不还就打断你的腿，{NUMBER}", (THREAT,)), call_id="crm-7")
    assert drain(deliverer) == 2
    done, flagged = lender.events(secret)
    assert (done["type"], flagged["type"]) == ("call.done", "call.flagged")
    assert done["data"]["call"]["id"] == call_id
    assert done["data"]["call"]["status"] == "done"
    assert done["data"]["call"]["metadata"] == {"call_id": "crm-7"}
    assert done["data"]["verdict"] == ["threat"]
    (finding,) = flagged["data"]["findings"]
    assert (finding["utterance"], finding["text"]) == (1, "不还就打断你的腿，打***********")
    path, headers, _ = lender.requests[0]
    assert path == "/hook"
    assert headers["content-type"] == "application/json"
    assert len(set(lender.ids)) == 2
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 44).verify(lender.requests[0][2], headers)


def test_each_webhook_gets_the_events_that_it_asked_for(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    _, secret = made(tenant, f"{lender.url}/flagged", events=["call.flagged"])
    made(tenant, f"{lender.url}/failed", events=["call.failed"])
    made(tenant.api.tenant(), f"{lender.url}/other-tenant")
    tenant.call(Said("您好"))
    tenant.call(Said("打断你的腿", (THREAT,)))
    failed = failed_call(tenant)
    drain(deliverer)
    told = {path: Webhook for path, _, _ in lender.requests}
    assert set(told) == {"/hook/flagged", "/hook/failed"}
    assert len(lender.requests) == 2
    (body,) = (body for path, _, body in lender.requests if path == "/hook/failed")
    assert failed.encode() in body
    assert b"job-given-up" in body
    assert secret


def test_review_is_told_and_what_it_makes_of_the_call(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    call_id = tenant.call(Said("您好"), Said("老赖", (Label.INSULT,), needs_review=True))
    _, secret = made(tenant, lender.url)
    given = {"verdict": "confirm", "note": f"heard it, {NUMBER}"}
    assert tenant.post(f"/v1/calls/{call_id}/utterances/1/reviews", json=given).status_code == 201
    drain(deliverer)
    created, flagged = lender.events(secret)
    assert (created["type"], flagged["type"]) == ("review.created", "call.flagged")
    assert created["data"]["review"]["verdict"] == "confirm"
    assert created["data"]["review"]["note"] == "heard it, 打***********"
    assert created["data"]["verdict"] == flagged["data"]["verdict"] == ["insult"]
    assert flagged["data"]["because"] == "review"


def test_nothing_is_told_of_what_was_rolled_back(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    made(tenant, lender.url)
    call_id = tenant.queued_call()
    attempt, database = calls.begin(tenant.api.database, call_id), tenant.api.database
    assert attempt

    @sa.event.listens_for(database, "commit")
    def _fail(_connection: sa.Connection) -> None:
        raise sa.exc.OperationalError("COMMIT", {}, Exception("the disk is gone"))

    try:
        with pytest.raises(sa.exc.OperationalError):
            calls.fail(database, attempt, refusal(500, "job given up", "x").problem)
    finally:
        sa.event.remove(database, "commit", _fail)
    assert drain(deliverer) == 0
    calls.fail(database, attempt, refusal(500, "job given up", "x").problem)
    assert drain(deliverer) == 1


def test_failed_delivery_is_tried_again_later_and_holds_back_what_follows(
    tenant: Tenant, lender: Receiver, deliverer: Deliverer
) -> None:
    webhook_id, secret = made(tenant, lender.url)
    tenant.call(Said("打断你的腿", (THREAT,)))
    lender.status = 500
    before = datetime.now(UTC)
    assert drain(deliverer) == 1  # call.flagged waits for call.done
    after = datetime.now(UTC)
    (flagged, done) = tenant.get(f"/v1/webhooks/{webhook_id}/messages").json()["messages"]
    assert (done["attempts"], done["state"], done["last_problem"]) == (1, "pending", "it answered 500")
    due = datetime.fromisoformat(done["next_attempt_at"])
    assert before + timedelta(seconds=4) <= due <= after + timedelta(seconds=6)
    assert flagged["attempts"] == 0
    other = tenant.call(Said("您好"))  # another call need not wait
    lender.status = 204
    assert drain(deliverer) == 1
    assert lender.events(secret)[-1]["data"]["call"]["id"] == other
    change(tenant.api, due_at=datetime.now(UTC))
    drain(deliverer)
    first = [event["type"] for event in lender.events(secret) if event["data"]["call"]["id"] != other]
    assert first == ["call.done", "call.done", "call.flagged"]
    assert lender.ids[0] == lender.ids[2]  # the same id, so that the receiver knows it again
    assert states(tenant, webhook_id) == ["delivered"] * 3


def test_pauses_grow_and_a_receiver_may_ask_for_more(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    webhook_id, _ = made(tenant, lender.url)
    tenant.call(Said("您好"))
    lender.status = 503

    def pause(attempts: int) -> tuple[float, float]:
        """Seconds until the next attempt after so many: from before the one that failed, and from after it."""
        change(tenant.api, attempts=attempts, due_at=datetime.now(UTC))
        before = datetime.now(UTC)
        drain(deliverer)
        after = datetime.now(UTC)
        (message,) = tenant.get(f"/v1/webhooks/{webhook_id}/messages").json()["messages"]
        due = datetime.fromisoformat(message["next_attempt_at"])
        return (due - before).total_seconds(), (due - after).total_seconds()

    for attempts, seconds in ((0, 5), (4, 80), (30, 3600)):
        longest, shortest = pause(attempts)
        assert 0.8 * seconds <= longest
        assert shortest <= 1.2 * seconds
    lender.headers = {"retry-after": "600"}
    assert pause(0)[0] >= 600


def test_message_is_given_up_after_a_day_and_can_be_replayed(
    tenant: Tenant, lender: Receiver, deliverer: Deliverer
) -> None:
    webhook_id, _ = made(tenant, lender.url)
    tenant.call(Said("打断你的腿", (THREAT,)))
    lender.status = 500
    change(tenant.api, give_up_at=datetime.now(UTC))  # as if a day had passed
    assert drain(deliverer) == 2  # the second is tried too, once the first is out of its way
    assert states(tenant, webhook_id) == ["dead", "dead"]
    (shown,) = tenant.get("/v1/webhooks").json()["webhooks"]
    assert (shown["pending"], shown["dead"]) == (0, 2)
    assert drain(deliverer) == 0
    lender.status = 200
    first, second = lender.ids
    only = tenant.post(f"/v1/webhooks/{webhook_id}/replay", json={"ids": [second, "msg_unknown"]})
    assert only.json() == {"replayed": 1}
    drain(deliverer)
    assert lender.ids == [first, second, second]
    assert tenant.post(f"/v1/webhooks/{webhook_id}/replay").json() == {"replayed": 1}
    drain(deliverer)
    assert lender.ids == [first, second, second, first]
    assert states(tenant, webhook_id) == ["delivered", "delivered"]
    assert tenant.post(f"/v1/webhooks/{webhook_id}/replay").json() == {"replayed": 0}


def test_day_counts_from_the_event(tenant: Tenant, lender: Receiver) -> None:
    webhook_id, _ = made(tenant, lender.url)
    tenant.call(Said("您好"))
    with tenant.api.database.connect() as connection:
        row = connection.execute(sa.select(webhook_messages).where(webhook_messages.c.webhook_id == webhook_id)).one()
    assert row.give_up_at - row.created_at == GIVE_UP_AFTER == timedelta(hours=24)


def test_receiver_that_is_gone_is_told_nothing_more_until_it_is_switched_on(
    tenant: Tenant, lender: Receiver, deliverer: Deliverer
) -> None:
    webhook_id, secret = made(tenant, lender.url)
    other_id, _ = made(tenant, f"{lender.url}/other", events=["call.failed"])
    tenant.call(Said("打断你的腿", (THREAT,)))
    lender.status = 410
    before = datetime.now(UTC)
    assert drain(deliverer) == 1  # call.flagged is not even tried
    gone, other = tenant.get("/v1/webhooks").json()["webhooks"]
    assert (gone["id"], gone["pending"], gone["dead"]) == (webhook_id, 0, 2)
    assert before <= datetime.fromisoformat(gone["disabled_at"]) <= datetime.now(UTC)
    assert (other["id"], other["disabled_at"]) == (other_id, None)
    messages = tenant.get(f"/v1/webhooks/{webhook_id}/messages").json()["messages"]
    assert [message["next_attempt_at"] for message in messages] == [None, None]
    assert all("410 Gone" in message["last_problem"] for message in messages)
    change(tenant.api, due_at=datetime.now(UTC))
    assert drain(deliverer) == 0
    tenant.call(Said("您好"))  # happens while it is off
    assert drain(deliverer) == 0
    expect_problem(tenant.post(f"/v1/webhooks/{webhook_id}/replay"), 409, "enable")
    lender.status = 204
    on = tenant.post(f"/v1/webhooks/{webhook_id}/enable")
    assert (on.status_code, on.json()["disabled_at"], on.json()["dead"]) == (200, None, 2)
    assert tenant.post(f"/v1/webhooks/{webhook_id}/replay").json() == {"replayed": 2}
    tenant.call(Said("您好"))
    assert drain(deliverer) == 3
    assert [event["type"] for event in lender.events(secret)[1:]] == ["call.done", "call.flagged", "call.done"]
    entries = audit.entries(tenant.api.database, tenant.id, None, 100, webhook_id)
    deeds = [(entry.action, entry.actor) for entry in entries if entry.action != "webhook.made"]
    me = entries[-1].actor
    assert deeds == [("webhook.replayed", me), ("webhook.enabled", me), ("webhook.disabled", f"webhook:{webhook_id}")]


def test_message_written_while_its_webhook_is_switched_off_is_not_sent(
    tenant: Tenant, lender: Receiver, deliverer: Deliverer
) -> None:
    webhook_id, _ = made(tenant, lender.url)
    tenant.call(Said("您好"))
    with tenant.api.database.begin() as connection:
        connection.execute(sa.update(webhooks).values(disabled_at=datetime.now(UTC)))
    drain(deliverer)
    assert lender.requests == []
    assert states(tenant, webhook_id) == ["dead"]


def test_enabling_what_is_on_changes_nothing(tenant: Tenant, lender: Receiver) -> None:
    webhook_id, _ = made(tenant, lender.url)
    assert tenant.post(f"/v1/webhooks/{webhook_id}/enable").json()["disabled_at"] is None
    entries = audit.entries(tenant.api.database, tenant.id, None, 100, webhook_id)
    assert [entry.action for entry in entries] == ["webhook.made"]


def test_both_secrets_sign_for_a_while_after_rotation(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    webhook_id, old = made(tenant, lender.url)
    rotated = tenant.post(f"/v1/webhooks/{webhook_id}/rotate", json={"old_signs_for_hours": 1})
    assert rotated.headers["cache-control"] == "no-store"
    new = rotated.json()["secret"]
    assert new != old
    tenant.call(Said("您好"))
    drain(deliverer)
    assert lender.events(old) == lender.events(new)
    assert len(lender.requests[0][1]["webhook-signature"].split(" ")) == 2
    with tenant.api.database.begin() as connection:
        connection.execute(sa.update(webhooks).values(previous_until=datetime.now(UTC)))
    lender.requests.clear()
    tenant.call(Said("您好"))
    drain(deliverer)
    assert lender.events(new)
    with pytest.raises(WebhookVerificationError):
        lender.events(old)


def test_secret_in_wrong_hands_signs_nothing_any_more(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    webhook_id, old = made(tenant, lender.url)
    new = tenant.post(f"/v1/webhooks/{webhook_id}/rotate", json={"old_signs_for_hours": 0}).json()["secret"]
    tenant.call(Said("您好"))
    drain(deliverer)
    assert lender.events(new)
    with pytest.raises(WebhookVerificationError):
        lender.events(old)


def test_secret_is_shown_once_and_sealed_with_the_services_key(
    engine: Engine, api: Api, tenant: Tenant, lender: Receiver, deliverer: Deliverer
) -> None:
    key = SecretStr("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVoxMjM0NTY=")
    sealing = api.settings.model_copy(update={"encryption_key": key})
    headers = {"authorization": f"Bearer {tenant.token(*ALL_ROLES)}"}
    with TestClient(create_app(sealing, engine, None), base_url="http://127.0.0.1") as client:
        answer = client.post("/v1/webhooks", headers=headers, json={"url": lender.url})
        secret = answer.json()["secret"]
        assert secret.removeprefix("whsec_") not in client.get("/v1/webhooks", headers=headers).text
    with api.database.connect() as connection:
        assert secret.removeprefix("whsec_") not in repr(connection.execute(sa.select(webhooks)).all())
    tenant.call(Said("您好"))
    drain(deliverer)  # it has not the key
    (message,) = tenant.get(f"/v1/webhooks/{answer.json()['webhook']['id']}/messages").json()["messages"]
    assert "CALLAUDIT_ENCRYPTION_KEY" in message["last_problem"]
    assert lender.requests == []
    change(api, due_at=datetime.now(UTC))
    drain(Deliverer(api.database, sealing.keyring, Post(OWN), lambda _: None))
    assert lender.events(secret)


def test_unredacted_webhook_needs_the_role_and_leaves_an_audit_entry(
    tenant: Tenant, lender: Receiver, deliverer: Deliverer
) -> None:
    wanted = {"url": lender.url, "redacted": False}
    expect_problem(tenant.post("/v1/webhooks", Role.ADMIN, json=wanted), 403, "unredacted")
    webhook_id, secret = made(tenant, lender.url, Role.ADMIN, Role.UNREDACTED, redacted=False)
    call_id = tenant.call(Said(f"不还就{NUMBER}", (THREAT,)))
    drain(deliverer)
    assert lender.events(secret)[1]["data"]["findings"][0]["text"] == f"不还就{NUMBER}"
    entries = audit.entries(tenant.api.database, tenant.id, None, 100, call_id)
    assert ("report.seen_unredacted", f"webhook:{webhook_id}") in [(e.action, e.actor) for e in entries]


def test_deeds_with_webhooks_are_in_the_audit_log(tenant: Tenant, lender: Receiver) -> None:
    webhook_id, secret = made(tenant, lender.url)
    tenant.post(f"/v1/webhooks/{webhook_id}/rotate")
    tenant.request("DELETE", f"/v1/webhooks/{webhook_id}")
    entries = audit.entries(tenant.api.database, tenant.id, None, 100, webhook_id)
    assert [entry.action for entry in entries] == ["webhook.removed", "webhook.rotated", "webhook.made"]
    assert secret.removeprefix("whsec_") not in repr(entries)


def test_deleted_webhook_is_told_nothing(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    webhook_id, _ = made(tenant, lender.url)
    tenant.call(Said("您好"))
    assert tenant.request("DELETE", f"/v1/webhooks/{webhook_id}").status_code == 204
    assert drain(deliverer) == 0
    assert lender.requests == []
    expect_problem(tenant.request("DELETE", f"/v1/webhooks/{webhook_id}"), 404)


def test_message_of_a_deleted_call_goes_with_it(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    made(tenant, lender.url)
    call_id = tenant.call(Said("打断你的腿", (THREAT,)))
    assert tenant.request("DELETE", f"/v1/calls/{call_id}").status_code == 204
    assert drain(deliverer) == 0


def test_another_tenants_webhook_is_unknown(api: Api, tenant: Tenant, lender: Receiver) -> None:
    webhook_id, _ = made(tenant, lender.url)
    stranger = api.tenant()
    for method, path in (
        ("DELETE", ""),
        ("POST", "/rotate"),
        ("POST", "/replay"),
        ("POST", "/enable"),
        ("GET", "/messages"),
    ):
        expect_problem(stranger.request(method, f"/v1/webhooks/{webhook_id}{path}"), 404)
    assert stranger.get("/v1/webhooks").json() == {"webhooks": []}
    assert [shown["id"] for shown in tenant.get("/v1/webhooks").json()["webhooks"]] == [webhook_id]


def test_tenant_has_a_limited_number_of_webhooks(tenant: Tenant, lender: Receiver) -> None:
    for _ in range(20):
        made(tenant, lender.url)
    expect_problem(tenant.post("/v1/webhooks", json={"url": lender.url}), 409, "20")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"url": "ftp://lender.example/x"}, "https"),
        ({"url": "http://"}, "https"),
        ({"url": "https://user:secret@lender.example/"}, "user"),
        ({"url": "https://lender.example/#part"}, "fragment"),
        ({"url": "https://lender.example:99999/"}, "URL"),
        ({"url": "https://lender.example/\r\nx: y"}, "ASCII"),
        ({"url": "https://10.1.2.3/"}, "public"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "metadata"),
        ({"url": "https://[::1]/"}, "public"),
        ({"url": "http://8.8.8.8/"}, "https"),
        ({"url": "https://lender.example/", "events": ["call.deleted"]}, "events"),
        ({"url": "https://lender.example/", "events": []}, "events"),
        ({"url": "https://lender.example/", "events": ["call.done", "call.done"]}, "events"),
        ({"url": "https://lender.example/", "redacted": 0}, "redacted"),
        ({"url": "https://lender.example/", "secret": "mine"}, "secret"),
    ],
)
def test_webhook_that_makes_no_sense_is_refused(tenant: Tenant, wanted: dict[str, Any], words: str) -> None:
    expect_problem(tenant.post("/v1/webhooks", json=wanted), 422, words)


def test_two_workers_deliver_each_message_once_and_in_order(tenant: Tenant, lender: Receiver, api: Api) -> None:
    with api.database.begin() as connection:
        connection.execute(sa.delete(webhooks))
    _, secret = made(tenant, lender.url)
    call_ids = [tenant.call(Said("打断你的腿", (THREAT,))) for _ in range(6)]
    lender.before = lambda: time.sleep(0.05)
    with _working(api), _working(api):
        _until(lambda: len(lender.requests) >= 12)
        time.sleep(1)
    assert len(set(lender.ids)) == len(lender.ids) == 12
    events = lender.events(secret)
    for call_id in call_ids:
        told = [event["type"] for event in events if event["data"]["call"]["id"] == call_id]
        assert told == ["call.done", "call.flagged"]


def test_what_a_killed_worker_had_in_hand_is_sent_by_another(
    tenant: Tenant, lender: Receiver, deliverer: Deliverer
) -> None:
    webhook_id, _ = made(tenant, lender.url)
    tenant.call(Said("您好"))
    assert deliverer._claim()  # and then it is killed
    assert drain(deliverer) == 0
    change(tenant.api, due_at=datetime.now(UTC))  # as if its time had passed
    assert drain(Deliverer(tenant.api.database, tenant.api.settings.keyring, Post(OWN), lambda _: None)) == 1
    assert states(tenant, webhook_id) == ["delivered"]


def test_slow_receiver_does_not_keep_others_waiting(tenant: Tenant, lender: Receiver, api: Api) -> None:
    with api.database.begin() as connection:
        connection.execute(sa.delete(webhooks))
    release = threading.Event()
    with receiver() as slow:

        def wait() -> None:
            release.wait(20)

        slow.before = wait
        made(tenant, slow.url)
        made(tenant, lender.url)
        for _ in range(6):
            tenant.call(Said("您好"))
        with _working(api):
            _until(lambda: len(lender.requests) >= 6)
            assert len(slow.requests) == 1
            release.set()
            _until(lambda: len(slow.requests) >= 6)


def test_old_messages_are_forgotten(tenant: Tenant, lender: Receiver, deliverer: Deliverer) -> None:
    webhook_id, _ = made(tenant, lender.url)
    tenant.call(Said("您好"))
    drain(deliverer)
    tenant.call(Said("您好"))
    forget_settled(tenant.api.database)
    assert states(tenant, webhook_id) == ["delivered", "pending"]
    change(tenant.api, settled_at=datetime.now(UTC) - timedelta(days=31))
    forget_settled(tenant.api.database)
    assert states(tenant, webhook_id) == ["pending"]


def test_events_stand_in_the_openapi_document(api: Api) -> None:
    document = api.client.get("/openapi.json").json()
    assert set(document["webhooks"]) == {"call.done", "call.flagged", "call.failed", "review.created"}


@contextmanager
def _working(api: Api) -> Iterator[None]:
    deliverer = Deliverer(api.database, api.settings.keyring, Post(OWN), lambda _: None)
    deliverer.start()
    try:
        yield
    finally:
        deliverer.stop()
        deliverer.wait(20)


def _until(wanted: Any, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.05)
