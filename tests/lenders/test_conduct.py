"""What several calls show together is listed with its proofs, and goes with them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from app.conduct import Replaced, Suspect, replace_findings, single
from app.keeping import remove_expired
from app.keys import Role
from app.tables import calls, conduct_findings, conduct_proofs
from pipelines.conduct import Call, load_rules
from tests.lenders.conftest import Api, Said, Tenant, expect_problem

RULES = load_rules()
DAY, NIGHT, HOUR = "cn-conversations-a-day", "cn-call-hours", "house-repeated-calls"


def made(tenant: Tenant, *hours: int, borrower: str = "b-1", collector: str = "c-1", minute: int = 0) -> list[Call]:
    """Conversations of one borrower on 2026-03-02 in Shanghai, which the service knows."""
    found = []
    for hour in hours:
        at = datetime(2026, 3, 1, 16, minute, tzinfo=UTC) + timedelta(hours=hour)
        call_id = tenant.call(Said("您好"), collector_id=collector, agency="north", called_at=at)
        found.append(
            Call(
                call_id=call_id,
                called_at=at,
                borrower_ref=borrower,
                collector_id=collector,
                agency="north",
                direction="outbound",
                duration_s=60,
                borrower_speech_s=9,
            )
        )
    return found


def kept(tenant: Tenant, rule: str, proof: list[Call]) -> Replaced:
    suspects = [Suspect(tuple(proof), single(RULES, rule))]
    return replace_findings(tenant.api.database, tenant.id, suspects, [call.call_id for call in proof])


def listed(tenant: Tenant, **wanted: Any) -> list[dict[str, Any]]:
    answer = tenant.get("/v1/conduct", Role.READ, params=wanted)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["findings"]
    return found


def test_finding_names_its_rule_and_the_calls_that_prove_it(api: Api, tenant: Tenant) -> None:
    day = made(tenant, 9, 12, 15, 18)
    assert kept(tenant, DAY, day) == Replaced(added=1, there=0, removed=0, unproven=0)
    (finding,) = listed(tenant)
    rule = finding["rule"]
    assert (rule["id"], rule["status"], rule["jurisdiction"], rule["time_zone"]) == (DAY, "read", "CN", "Asia/Shanghai")
    assert rule["source"].startswith("GB/T 45251-2025")
    assert (finding["count"], finding["limit"], finding["borrower_ref"]) == (4, 3, "b-1")
    assert (finding["collectors"], finding["agencies"]) == (["c-1"], ["north"])
    assert [call["id"] for call in finding["calls"]] == [call.call_id for call in day]
    assert datetime.fromisoformat(finding["first_at"]) == day[0].called_at
    assert datetime.fromisoformat(finding["last_at"]) == day[-1].called_at
    assert kept(tenant, DAY, day) == Replaced(added=0, there=1, removed=0, unproven=0)
    assert listed(tenant) == [finding]
    assert listed(api.tenant()) == []
    expect_problem(tenant.get("/v1/conduct", Role.INGEST), 403, "read")


def test_findings_are_filtered_and_paged(tenant: Tenant) -> None:
    for borrower, collector, hour in (("b-1", "c-1", 23), ("b-2", "c-2", 2), ("b-3", "c-2", 5)):
        kept(tenant, NIGHT, made(tenant, hour, borrower=borrower, collector=collector))
    kept(tenant, HOUR, made(tenant, 9, 9, 9, borrower="b-1"))

    def borrowers(**wanted: Any) -> list[str]:
        return [finding["borrower_ref"] for finding in listed(tenant, **wanted)]

    assert borrowers() == ["b-1", "b-3", "b-2", "b-1"]
    assert borrowers(rule=NIGHT) == ["b-3", "b-2", "b-1"]
    assert borrowers(borrower_ref="b-1", rule=NIGHT) == ["b-1"]
    assert borrowers(collector_id="c-2") == ["b-3", "b-2"]
    assert borrowers(agency="north", collector_id="c-1") == ["b-1", "b-1"]
    assert borrowers(agency="south") == []
    assert borrowers(called_from="2026-03-02T10:00:00+08:00") == ["b-1"]
    assert borrowers(called_before="2026-03-02T03:00:00+08:00") == ["b-2"]
    seen, after = [], {}
    while True:
        page = tenant.get("/v1/conduct", params={"limit": 3, **after}).json()
        seen += [finding["borrower_ref"] for finding in page["findings"]]
        if page["next_before"] is None:
            break
        after = {"before": page["next_before"]}
    assert seen == ["b-1", "b-3", "b-2", "b-1"]
    expect_problem(tenant.get("/v1/conduct", params={"called_from": "2026-03-02"}), 422, "called_from")
    expect_problem(tenant.get("/v1/conduct", params={"rule": "x" * 101}), 422, "rule")


def test_what_a_finding_says_of_a_call_goes_with_the_call(tenant: Tenant) -> None:
    day = made(tenant, 9, 12, 15, 18, 20)
    kept(tenant, DAY, day)
    (before,) = listed(tenant)
    assert tenant.request("DELETE", f"/v1/calls/{day[-1].call_id}", Role.ADMIN).status_code == 204
    (finding,) = listed(tenant)
    assert (finding["count"], finding["id"] == before["id"]) == (4, False)
    assert [call["id"] for call in finding["calls"]] == [call.call_id for call in day[:-1]]
    assert datetime.fromisoformat(finding["last_at"]) == day[-2].called_at
    tenant.request("DELETE", f"/v1/calls/{day[0].call_id}")
    assert listed(tenant) == []
    with tenant.api.database.connect() as connection:
        for column in (conduct_findings.c.id, conduct_proofs.c.finding_id):
            assert before["id"] not in connection.execute(sa.select(column)).scalars().all()
        named = sa.select(conduct_proofs).where(conduct_proofs.c.call_id.in_([call.call_id for call in day]))
        assert connection.execute(named).all() == []


def test_retention_takes_findings_along_and_a_hold_keeps_them(api: Api, tenant: Tenant) -> None:
    held, old = made(tenant, 23), made(tenant, 2)
    kept(tenant, NIGHT, held)
    kept(tenant, NIGHT, old)
    tenant.request("PUT", f"/v1/calls/{held[0].call_id}/hold", json={"because": "complaint 118"})
    expect_problem(tenant.request("DELETE", f"/v1/calls/{held[0].call_id}"), 409, "held")
    tenant.request("PUT", "/v1/retention", json={"days": 30})
    with api.database.begin() as connection:
        mine = calls.c.tenant_id == tenant.id
        connection.execute(sa.update(calls).where(mine).values(received_at=datetime.now(UTC) - timedelta(days=31)))
    assert remove_expired(api.database, api.recordings.forget, lambda _call_id: None) == 1
    (finding,) = listed(tenant)
    assert finding["calls"][0]["id"] == held[0].call_id


def test_later_judgement_of_the_same_calls_takes_the_place_of_the_earlier(tenant: Tenant) -> None:
    day = made(tenant, 9, 12, 15, 18, 20)
    other = made(tenant, 23, borrower="b-2")
    kept(tenant, NIGHT, other)
    kept(tenant, DAY, day[:4])
    assert kept(tenant, DAY, day) == Replaced(added=1, there=0, removed=1, unproven=0)
    assert [finding["count"] for finding in listed(tenant)] == [5, 1]
    agreed = [replace(other[0], agreed_hours=True)]
    assert kept(tenant, NIGHT, agreed) == Replaced(added=0, there=0, removed=1, unproven=1)
    assert [finding["count"] for finding in listed(tenant)] == [5]


def test_calls_that_are_not_there_prove_nothing(api: Api, tenant: Tenant) -> None:
    day = made(tenant, 9, 12, 15)
    lost, others = replace(day[0], call_id="lost"), made(api.tenant(), 18)
    for fourth in (lost, others[0]):
        assert kept(tenant, DAY, [*day, fourth]) == Replaced(added=0, there=0, removed=0, unproven=1)
    assert listed(tenant) == []


@pytest.mark.parametrize("rule", ["cn-third-party-after-refusal", "us-call-after-conversation", "us-seven-in-seven"])
def test_every_kind_of_rule_is_read_back_as_it_judged(tenant: Tenant, rule: str) -> None:
    abroad = RULES.model_copy(update={"jurisdictions": ("CN", "US")})
    proof = [replace(call, contact="third_party", contact_refused=True) for call in made(tenant, *range(9, 17))]
    suspects = [Suspect(tuple(proof), single(abroad, rule))]
    replace_findings(tenant.api.database, tenant.id, suspects, [])
    found = listed(tenant, rule=rule)
    assert {finding["rule"]["id"] for finding in found} == {rule}
    tenant.request("DELETE", f"/v1/calls/{proof[0].call_id}")
    left = [name for finding in listed(tenant, rule=rule) for name in (call["id"] for call in finding["calls"])]
    assert proof[0].call_id not in left
    assert bool(left) == (rule != "us-seven-in-seven")
