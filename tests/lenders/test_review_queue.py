"""The order in which people hear calls, on both databases."""

from dataclasses import replace

from app import review_queue
from app.review_queue import Progress, Wanted
from models.call import Label, Speaker
from tests.lenders.conftest import Said, Tenant

THREAT, INSULT = Label.THREAT, Label.INSULT


def found(tenant: Tenant, **wanted: object) -> list[str]:
    """Ids, in pages of one: a page must begin where the one before it ended."""
    asked = replace(Wanted(tenant.id), **wanted)  # type: ignore[arg-type]
    ids: list[str] = []
    place = None
    while page := review_queue.page(tenant.api.database, asked, place, 1):
        ids.append(page[0].call_id)
        place = page[0].place
    return ids


def test_queue_is_the_same_on_every_database(tenant: Tenant) -> None:
    calm = tenant.call(Said("您好，请问是本人吗"), agency="north")
    insult = tenant.call(Said("老赖", (INSULT,), score=0.7), Said("打一六三零零一二三四五六"), collector_id="c-2")
    both = tenant.call(Said("打断你的腿", (THREAT,), score=0.9), Said("骗子", (INSULT,), needs_review=True, score=0.7))
    own = tenant.call(Said("你才是骗子", (INSULT,), Speaker.BORROWER, score=0.99))
    assert found(tenant) == [both, insult, calm, own]
    assert found(tenant, label=INSULT) == [both, insult]  # as high; the newest first
    assert found(tenant, flagged=False) == [calm, own]
    assert found(tenant, min_score=0.7, max_score=0.8) == [insult]
    assert found(tenant, collector_id="c-2") == [insult]
    assert found(tenant, agency="north") == [calm]
    assert found(tenant, needs_review=True) == [both]
    assert found(tenant, text="骗子") == [both, own]
    assert found(tenant, text="腿") == [both]
    assert found(tenant, text="一六三零零一二三四五六") == []  # no search finds what is masked
    tenant.post(f"/v1/calls/{both}/utterances/1/reviews", json={"verdict": "confirm"})
    assert found(tenant, needs_review=True) == []
    assert found(tenant, progress=Progress.SOME) == [both]
    assert found(tenant, progress=Progress.NONE) == [insult, calm, own]
    tenant.post(f"/v1/calls/{both}/utterances/0/reviews", json={"verdict": "reject"})
    assert found(tenant, progress=Progress.ALL) == [both]
    (shown,) = review_queue.page(tenant.api.database, Wanted(tenant.id, collector_id="c-2", text="打"), None, 5)
    assert (shown.quoted, shown.quote, shown.found) == (1, "打***********", (INSULT,))
    tenant.request("DELETE", f"/v1/calls/{both}")
    assert found(tenant) == [insult, calm, own]
