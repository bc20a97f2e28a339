"""Calls stay as long as they may, and leave nothing behind."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
import sqlalchemy as sa

from app.keeping import remove_expired
from app.keys import Role
from app.tables import calls, metadata
from models.call import Label
from tests.lenders.conftest import Api, Said, Tenant, expect_problem, files_under


def expire(api: Api) -> int:
    return remove_expired(api.database, api.recordings.forget, lambda _call_id: None)


def age(api: Api, call_id: str, days: float) -> None:
    with api.database.begin() as connection:
        then = datetime.now(UTC) - timedelta(days=days)
        connection.execute(sa.update(calls).where(calls.c.id == call_id).values(received_at=then))


def test_calls_past_their_retention_go_and_others_stay(api: Api, tenant: Tenant) -> None:
    old, young, others = tenant.call(Said("一")), tenant.call(Said("二")), api.tenant().call(Said("三"))
    for call_id in (old, others):
        age(api, call_id, 31)
    age(api, young, 29)
    assert expire(api) == 0
    assert tenant.get("/v1/retention", Role.ADMIN).json() == {"days": None}
    assert tenant.request("PUT", "/v1/retention", Role.ADMIN, json={"days": 30}).json() == {"days": 30}
    assert expire(api) == 1
    expect_problem(tenant.get(f"/v1/calls/{old}"), 404)
    assert tenant.get(f"/v1/calls/{young}").status_code == 200
    with api.database.connect() as connection:
        assert connection.execute(sa.select(calls.c.id).where(calls.c.id == others)).scalar() == others
    gone = tenant.get("/v1/audit", params={"subject": old}).json()["entries"][0]
    assert (gone["action"], gone["actor"]) == ("call.deleted", "retention")


def test_held_call_is_deleted_by_nobody_until_it_is_let_go(api: Api, tenant: Tenant) -> None:
    call_id = tenant.call(Said("一"))
    age(api, call_id, 400)
    tenant.request("PUT", "/v1/retention", json={"days": 30})
    held = tenant.request("PUT", f"/v1/calls/{call_id}/hold", Role.ADMIN, json={"because": "complaint 118"})
    assert held.status_code == 204
    assert expire(api) == 0
    expect_problem(tenant.request("DELETE", f"/v1/calls/{call_id}", Role.ADMIN), 409, "held")
    assert tenant.request("DELETE", f"/v1/calls/{call_id}/hold", Role.ADMIN).status_code == 204
    assert expire(api) == 1
    told = tenant.get("/v1/audit", params={"subject": call_id}).json()["entries"]
    assert [e["action"] for e in told] == ["call.deleted", "call.let_go", "call.held", "call.accepted"]


@pytest.mark.parametrize("days", [0, -1, 40_000, "ten"])
def test_retention_that_makes_no_sense_is_refused(tenant: Tenant, days: object) -> None:
    expect_problem(tenant.request("PUT", "/v1/retention", json={"days": days}), 422, "days")


def test_deleted_call_leaves_nothing_behind(api: Api, tenant: Tenant) -> None:
    words, reference, content = "这句话只在这通电话里说过", "crm-ref-unmistakable-77", b"\x01sound of its own" * 500
    call_id = tenant.call(Said(words, (Label.THREAT,)), content=content, call_id=reference, collector_id=reference)
    tenant.post(f"/v1/calls/{call_id}/utterances/0/reviews", json={"verdict": "confirm", "note": reference})
    assert traces(api, words)
    assert traces(api, reference)
    assert tenant.request("DELETE", f"/v1/calls/{call_id}").status_code == 204
    assert traces(api, words) == traces(api, reference) == []
    # What is left of it: that it was there, and that it was deleted, in the log alone.
    assert set(traces(api, call_id)) == {"audit_log"}
    assert set(traces(api, sha256(content).hexdigest())) == {"audit_log"}
    stored = [file for file in files_under(api.settings.data_dir) if b"sound of its own" in file.read_bytes()]
    assert stored == []
    if api.database.dialect.name == "sqlite":
        needles = (words.encode(), reference.encode())
        files = [file for file in files_under(api.settings.data_dir) if file.name.startswith("callaudit.db")]
        assert not [file for file in files if any(needle in file.read_bytes() for needle in needles)]


def traces(api: Api, needle: str) -> list[str]:
    """Tables, also those of the job queue, with a row that holds it."""
    found = []
    with api.database.connect() as connection:
        reflected = sa.MetaData()
        reflected.reflect(connection, resolve_fks=False)
        assert set(metadata.tables) <= set(reflected.tables)
        for table in reflected.sorted_tables:
            rows = connection.execute(sa.select(table)).all()
            found += [table.name] * any(needle in repr(row) for row in rows)
    return found
