"""What was said is found, by any part of it, and how collectors fare is counted as people decided."""

from math import isclose
from typing import Any

import pytest

from app.keys import Role
from models.call import Label, Speaker
from pipelines.intervals import wilson
from tests.lenders.conftest import Api, Said, Tenant, expect_problem

THREAT, INSULT = Label.THREAT, Label.INSULT


@pytest.fixture(scope="module")
def tenant(api: Api) -> Tenant:
    tenant = api.tenant()
    tenant.call(
        Said("您好，请问是张先生吗"),
        Said("不还就打断你的腿", (THREAT,), score=0.8),
        Said("你才是骗子", (INSULT,), Speaker.BORROWER),
        collector_id="c1",
        agency="north",
        called_at="2026-03-02T10:00:00+08:00",
    )
    tenant.call(
        Said("100%_确定\\吗"),
        Said('打 ‘断’ it\'s "all"', (INSULT,), needs_review=True),
        Said("我手机一六三零零一二三四五六"),
        collector_id="c2",
        called_at="2026-03-08T23:00:00+08:00",
    )
    return tenant


def found(tenant: Tenant, **wanted: Any) -> list[str]:
    answer = tenant.get("/v1/utterances", Role.READ, params=wanted)
    assert answer.status_code == 200, answer.text
    return [one["text"] for one in answer.json()["utterances"]][::-1]


@pytest.mark.parametrize(
    ("q", "texts"),
    [
        ("打断", ["不还就打断你的腿"]),
        ("打断你的", ["不还就打断你的腿"]),
        ("你", ["不还就打断你的腿", "你才是骗子"]),
        ("你你", []),
        ("你才", ["你才是骗子"]),
        ("断你打", []),
        ("好，请问", ["您好，请问是张先生吗"]),
        ("好请问", []),
        ("，", ["您好，请问是张先生吗"]),
        ("100%_确", ["100%_确定\\吗"]),
        ("0%确", []),
        ("定\\吗", ["100%_确定\\吗"]),
        ("it's \"a", ['打 ‘断’ it\'s "all"']),
        ("' OR 1=1 --", []),
        ('" OR "', []),
        ("AND NOT *", []),
        ("%", ["100%_确定\\吗"]),
        ("六三零零", []),  # masked, and not to be found out
    ],
)
def test_any_part_of_what_was_said_is_found(tenant: Tenant, q: str, texts: list[str]) -> None:
    assert found(tenant, q=q) == texts


def test_search_tells_nothing_that_is_masked_also_to_those_who_may_see_it(tenant: Tenant) -> None:
    answer = tenant.get("/v1/utterances", Role.READ, Role.UNREDACTED, params={"q": "我手机"})
    assert [one["text"] for one in answer.json()["utterances"]] == ["我手机***********"]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({"label": "threat"}, 1),
        ({"label": "threat", "min_score": 0.81}, 0),
        ({"label": "threat", "min_score": 0.8, "max_score": 0.8}, 1),
        ({"min_score": 0.85}, 2),
        ({"max_score": 0.5}, 3),
        ({"speaker": "borrower"}, 1),
        ({"collector_id": "c1"}, 3),
        ({"agency": "north"}, 3),
        ({"agency": "south"}, 0),
        ({"needs_review": True}, 1),
        ({"needs_review": False}, 5),
        ({"suppressed": True}, 0),
        ({"called_before": "2026-03-05T00:00:00Z"}, 3),
        ({"called_from": "2026-03-05T00:00:00Z", "label": "insult"}, 1),
        ({"q": "你", "speaker": "collector"}, 1),
    ],
)
def test_utterances_are_filtered(tenant: Tenant, wanted: dict[str, Any], count: int) -> None:
    assert len(found(tenant, **wanted)) == count


def test_pages_do_not_shift_while_calls_come_in(api: Api) -> None:
    tenant = api.tenant()
    tenant.call(*(Said(f"第{n}句") for n in range(5)))
    seen, cursor = [], {}
    while True:
        page = tenant.get("/v1/utterances", params={"limit": 2, **cursor}).json()
        seen += [one["index"] for one in page["utterances"]]
        tenant.call(Said("又一句"))
        if page["next_before"] is None:
            break
        cursor = {"before": page["next_before"]}
    assert seen == [4, 3, 2, 1, 0]


def test_newest_call_comes_first_whenever_it_was_sent(api: Api) -> None:
    tenant = api.tenant()
    for day in (3, 1, 2):
        tenant.call(Said(f"第{day}天还钱"), called_at=f"2026-03-0{day}T10:00:00Z")
    pages = [tenant.get("/v1/utterances", params={"q": "钱", "limit": 1}).json()]
    while pages[-1]["next_before"]:
        cursor = {"q": "钱", "limit": 1, "before": pages[-1]["next_before"]}
        pages.append(tenant.get("/v1/utterances", params=cursor).json())
    assert [page["utterances"][0]["text"] for page in pages] == ["第3天还钱", "第2天还钱", "第1天还钱"]


def test_page_after_a_call_that_is_gone_is_refused_rather_than_wrong(api: Api) -> None:
    tenant = api.tenant()
    calls = [tenant.call(Said("还钱"), called_at=f"2026-03-0{day}T10:00:00Z") for day in (1, 2)]
    cursor = {"before": tenant.get("/v1/utterances", params={"limit": 1}).json()["next_before"]}
    assert tenant.get("/v1/utterances", params=cursor).json()["utterances"][0]["call_id"] == calls[0]
    assert tenant.request("DELETE", f"/v1/calls/{calls[1]}").status_code == 204
    expect_problem(tenant.get("/v1/utterances", params=cursor), 422, "start again")


@pytest.mark.parametrize("wanted", [{"q": ""}, {"q": "x" * 101}, {"min_score": 2}, {"label": "bad"}, {"before": 0}])
def test_search_that_makes_no_sense_is_refused(tenant: Tenant, wanted: dict[str, Any]) -> None:
    expect_problem(tenant.get("/v1/utterances", params=wanted), 422, next(iter(wanted)))


def test_scorecards_count_as_people_decided(api: Api) -> None:
    tenant = api.tenant()
    guilty = [
        tenant.call(Said("打断你的腿", (THREAT,)), collector_id="a", agency="n", called_at=f"2026-03-0{day}T10:00:00Z")
        for day in (2, 3, 9)
    ]
    tenant.call(Said("您好"), collector_id="a", agency="n", called_at="2026-03-08T23:59:00Z")
    tenant.call(Said("您好"), collector_id="b", called_at="2026-03-02T00:00:00Z")
    tenant.call(Said("您好"))
    for call_id, verdict in zip(guilty, ("reject", "confirm"), strict=False):
        tenant.post(f"/v1/calls/{call_id}/utterances/0/reviews", json={"verdict": verdict})
    first, second = tenant.get("/v1/collectors", Role.READ).json()["scorecards"]
    assert (first["name"], first["calls"], first["flagged_calls"], first["flagged_rate"]) == ("a", 4, 2, 0.5)
    assert first["minutes"] == pytest.approx(4 * 4 / 60, abs=0.01)
    assert first["flagged_calls_by_kind"] == {"threat": 2, "insult": 0, "third_party_contact": 0}
    assert (first["reviewed_calls"], first["confirmed_calls"]) == (2, 1)
    assert first["weeks"] == [
        {"monday": "2026-03-02", "calls": 3, "flagged_calls": 1},
        {"monday": "2026-03-09", "calls": 1, "flagged_calls": 1},
    ]
    low, high = first["flagged_rate_interval"]
    assert 0.1 < low < 0.5 < high < 0.9
    assert (second["name"], second["calls"], second["flagged_calls"]) == ("b", 1, 0)
    (agency,) = tenant.get("/v1/agencies", Role.READ).json()["scorecards"]
    assert (agency["name"], agency["calls"]) == ("n", 4)
    page = tenant.get("/v1/collectors", params={"limit": 1}).json()
    assert page["next_after"] == "a"
    rest = tenant.get("/v1/collectors", params={"limit": 1, "after": "a"}).json()
    assert ([card["name"] for card in rest["scorecards"]], rest["next_after"]) == (["b"], None)
    later = tenant.get("/v1/collectors", params={"called_from": "2026-03-09T00:00:00Z"}).json()["scorecards"]
    assert [(card["name"], card["calls"]) for card in later] == [("a", 1)]


def test_wilsons_interval_is_the_published_one() -> None:
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611."""
    for (successes, trials), expected in {(81, 263): (0.2553, 0.3662), (0, 20): (0.0, 0.1611)}.items():
        assert all(isclose(a, b, abs_tol=5e-5) for a, b in zip(wilson(successes, trials), expected, strict=True))
    assert wilson(0, 0) == (0.0, 1.0)
