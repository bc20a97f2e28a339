"""What is private stays so, and whoever looks leaves a trace that nobody can rub out."""

import io
import wave
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import soundfile
import sqlalchemy as sa

from app import audit
from app.audit import Broken, Head
from app.keys import Role
from app.tables import audit_log
from tests.lenders.conftest import Api, Said, Tenant, expect_problem
from tests.lenders.test_access import callaudit

NUMBER = "您的手机一六三零零一二三四五六对吗"
HIDDEN = "您的手机***********对吗"


def actions(tenant: Tenant, subject: str) -> list[str]:
    found = tenant.get("/v1/audit", Role.ADMIN, params={"subject": subject}).json()["entries"]
    return [entry["action"] for entry in reversed(found)]


def test_report_is_redacted_unless_the_key_may_see_it_all(tenant: Tenant) -> None:
    call_id = tenant.call(Said(NUMBER), Said("好的"))
    shown = tenant.get(f"/v1/calls/{call_id}", Role.READ).json()["report"]["utterances"]
    assert [u["text"] for u in shown] == [HIDDEN, "好的"]
    assert [u["raw_text"] for u in shown] == [HIDDEN, "好的"]
    assert actions(tenant, call_id) == ["call.accepted"]
    whole = tenant.get(f"/v1/calls/{call_id}", Role.READ, Role.UNREDACTED).json()["report"]["utterances"]
    assert [u["text"] for u in whole] == [NUMBER, "好的"]
    assert actions(tenant, call_id) == ["call.accepted", "report.seen_unredacted"]


def test_many_looks_in_a_row_are_one_entry(tenant: Tenant) -> None:
    call_id = tenant.call(Said("好的"), content=b"0123456789")
    for start in range(3):
        heard = tenant.get(
            f"/v1/calls/{call_id}/audio", Role.READ, Role.UNREDACTED, headers={"range": f"bytes={start}-5"}
        )
        assert heard.status_code == 206
    assert actions(tenant, call_id) == ["call.accepted", "audio.heard_unredacted"]


@pytest.fixture(scope="module")
def two_voices(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Nine seconds at 8 kHz, a tone on each of two channels."""
    path = tmp_path_factory.mktemp("sound") / "two.wav"
    time_s = np.arange(9 * 8000) / 8000
    left, right = 0.3 * np.sin(2 * np.pi * 300 * time_s), 0.3 * np.sin(2 * np.pi * 500 * time_s)
    soundfile.write(path, np.stack([left, right], axis=1), 8000)
    return path.read_bytes()


def test_redacted_audio_is_silent_where_a_number_is_said_and_nowhere_else(tenant: Tenant, two_voices: bytes) -> None:
    call_id = tenant.call(Said("您好"), Said(NUMBER), content=two_voices)
    answer = tenant.get(f"/v1/calls/{call_id}/audio", Role.READ)
    assert answer.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(answer.content)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 16_000)
        assert abs(file.getnframes() - 9 * 16_000) < 200
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)

    def loud(channel: int, start: float, end: float) -> float:
        return float(np.sqrt(np.mean((sound[int(start * 16_000) : int(end * 16_000), channel] / 32768) ** 2)))

    assert loud(0, 4.0, 7.0) == 0  # the second utterance, by the collector
    assert loud(0, 0.5, 3.5) > 0.1
    assert loud(0, 7.5, 8.5) > 0.1
    assert loud(1, 0.5, 8.5) > 0.1
    part = tenant.get(f"/v1/calls/{call_id}/audio", Role.READ, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, answer.content[100:200])
    assert actions(tenant, call_id) == ["call.accepted"]


def test_audio_without_anything_private_is_as_it_was_sent(tenant: Tenant) -> None:
    call_id = tenant.call(Said("您好"), content=b"any bytes at all")
    assert tenant.get(f"/v1/calls/{call_id}/audio", Role.READ).content == b"any bytes at all"


def test_audio_of_an_unfinished_call_is_not_given_redacted(tenant: Tenant, tone: Path) -> None:
    sent = tenant.post("/v1/calls", Role.INGEST, files={"file": ("a.wav", tone.read_bytes())})
    assert sent.status_code == 202, sent.text
    path = f"/v1/calls/{sent.json()['id']}/audio"
    expect_problem(tenant.get(path, Role.READ), 409, "not done")
    assert tenant.get(path, Role.READ, Role.UNREDACTED).content == tone.read_bytes()


def test_every_deed_is_in_the_log_with_its_doer(tenant: Tenant) -> None:
    call_id = tenant.call(Said("您好"), content=b"logged")
    made = tenant.post("/v1/keys", Role.ADMIN, json={"roles": ["read"]}).json()["key"]["prefix"]
    tenant.request("DELETE", f"/v1/keys/{made}", Role.ADMIN)
    tenant.request("DELETE", f"/v1/calls/{call_id}", Role.ADMIN)
    entries = tenant.get("/v1/audit", Role.ADMIN).json()["entries"][::-1]
    assert [(e["action"], e["subject"]) for e in entries] == [
        ("call.accepted", call_id),
        ("key.made", made),
        ("key.revoked", made),
        ("call.deleted", call_id),
    ]
    assert [e["position"] for e in entries] == [1, 2, 3, 4]
    assert entries[3]["facts"] == {"recording_sha256": sha256(b"logged").hexdigest()}
    assert entries[1]["actor"].removeprefix("key:") in tenant.token(Role.ADMIN)


def test_log_is_paged(tenant: Tenant) -> None:
    for _ in range(5):
        tenant.call(Said("您好"))
    first = tenant.get("/v1/audit", params={"limit": 3}).json()
    second = tenant.get("/v1/audit", params={"limit": 3, "before": first["next_before"]}).json()
    assert [e["position"] for e in first["entries"] + second["entries"]] == [5, 4, 3, 2, 1]
    assert second["next_before"] is None


def test_log_cannot_be_changed_by_way_of_the_database(api: Api, tenant: Tenant) -> None:
    tenant.call(Said("您好"))
    mine = audit_log.c.tenant_id == tenant.id
    for change in (sa.update(audit_log).where(mine).values(actor="nobody"), sa.delete(audit_log).where(mine)):
        with pytest.raises(sa.exc.DBAPIError, match="only grows"), api.database.begin() as connection:
            connection.execute(change)
    assert [type(found) for found in audit.verify(api.database, tenant.id)] == [Head]


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ("UPDATE audit_log SET actor = 'nobody' WHERE tenant_id = :tenant AND position = 2", 2),
        ("UPDATE audit_log SET facts = '{}' WHERE tenant_id = :tenant AND position = 1", 1),
        ("DELETE FROM audit_log WHERE tenant_id = :tenant AND position = 2", 2),
        ("DELETE FROM audit_log WHERE tenant_id = :tenant AND position = 1", 1),
        ("UPDATE audit_log SET position = 9 WHERE tenant_id = :tenant AND position = 3", 3),
    ],
)
def test_chain_tells_what_was_changed_behind_the_databases_back(
    api: Api, tenant: Tenant, change: str, position: int
) -> None:
    for _ in range(3):
        tenant.call(Said("您好"))
    assert [type(found) for found in audit.verify(api.database, tenant.id)] == [Head]
    tamper(api, sa.text(change).bindparams(tenant=tenant.id))
    (found,) = audit.verify(api.database, tenant.id)
    assert isinstance(found, Broken)
    assert found.position == position


def test_cut_off_end_is_found_by_the_head_that_was_written_down(api: Api, tenant: Tenant) -> None:
    for _ in range(3):
        tenant.call(Said("您好"))
    (head,) = audit.verify(api.database, tenant.id)
    assert isinstance(head, Head)
    assert audit.hash_at(api.database, tenant.id, head.position) == head.hash
    tamper(api, sa.delete(audit_log).where(audit_log.c.tenant_id == tenant.id, audit_log.c.position == 3))
    (cut,) = audit.verify(api.database, tenant.id)
    assert isinstance(cut, Head)
    assert audit.hash_at(api.database, tenant.id, head.position) is None


def test_chains_of_two_tenants_do_not_mix(api: Api, tenant: Tenant) -> None:
    other = api.tenant()
    for one in (tenant, other, tenant):
        one.call(Said("您好"))
    heads = {head.tenant_id: head.position for head in audit.verify(api.database) if isinstance(head, Head)}
    assert (heads[tenant.id], heads[other.id]) == (2, 1)


def test_command_prints_heads_and_finds_what_is_gone(tmp_path: Path) -> None:
    callaudit(tmp_path, "keys", "create", "--tenant", "north", "--roles", "read")
    done = callaudit(tmp_path, "audit", "verify")
    assert done.returncode == 0, done.stderr
    head = done.stdout.strip()
    assert head.startswith("north:1:")
    assert callaudit(tmp_path, "audit", "verify", "--expect", head).returncode == 0
    gone = callaudit(tmp_path, "audit", "verify", "--expect", head.replace("north:1", "north:2"))
    assert gone.returncode == 1
    assert "gone" in gone.stderr


def tamper(api: Api, change: sa.Executable) -> None:
    """As someone would who owns the database."""
    with api.database.begin() as connection:
        if connection.dialect.name == "sqlite":
            kept = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE type = 'trigger'").scalars().all()
            for name in ("audit_log_update", "audit_log_delete"):
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
            connection.execute(change)
            for trigger in kept:
                if "audit_log" in trigger:
                    connection.exec_driver_sql(trigger)
            return
        connection.exec_driver_sql("ALTER TABLE audit_log DISABLE TRIGGER audit_log_grows")
        connection.execute(change)
        connection.exec_driver_sql("ALTER TABLE audit_log ENABLE TRIGGER audit_log_grows")
