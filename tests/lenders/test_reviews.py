"""People have the last word, and the machine's stays on record."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from app import reviews
from app.keys import Role
from app.tables import calls
from app.tables import reviews as review_rows
from models.call import Label, Speaker
from pipelines.training.dataset import read_rows
from tests.lenders.conftest import Said, Tenant, expect_problem

THREAT, INSULT = Label.THREAT, Label.INSULT


def review(tenant: Tenant, call_id: str, index: int, *roles: Role, **given: Any) -> Any:
    return tenant.post(f"/v1/calls/{call_id}/utterances/{index}/reviews", *roles, json=given)


def reviews_of(tenant: Tenant, call_id: str) -> Any:
    return tenant.get(f"/v1/calls/{call_id}/reviews", Role.READ).json()


@pytest.fixture
def call_id(tenant: Tenant) -> str:
    return tenant.call(
        Said("您好，请问是本人吗"),
        Said("不还就打断你的腿", (THREAT,)),
        Said("你才是骗子", (INSULT,), Speaker.BORROWER),
        Said("老赖", (INSULT,), needs_review=True),
    )


def test_verdict_follows_reviews_and_the_report_stays(tenant: Tenant, call_id: str) -> None:
    before = tenant.get(f"/v1/calls/{call_id}").json()["report"]
    assert reviews_of(tenant, call_id) == {"verdict": ["threat"], "disputed": [], "reviews": []}
    given = review(tenant, call_id, 1, Role.READ, Role.REVIEW, verdict="reject", note="a joke among friends")
    assert given.status_code == 201, given.text
    assert given.json()["label"] == "compliant"
    assert reviews_of(tenant, call_id)["verdict"] == []
    review(tenant, call_id, 3, verdict="confirm")
    assert reviews_of(tenant, call_id)["verdict"] == ["insult"]
    review(tenant, call_id, 0, verdict="correct", labels=["third_party_contact", "threat"])
    assert reviews_of(tenant, call_id)["verdict"] == ["threat", "insult", "third_party_contact"]
    review(tenant, call_id, 2, verdict="confirm")  # a borrower's words never count
    review(tenant, call_id, 0, verdict="reject")
    assert reviews_of(tenant, call_id)["verdict"] == ["insult"]
    assert tenant.get(f"/v1/calls/{call_id}").json()["report"] == before
    assert len(reviews_of(tenant, call_id)["reviews"]) == 5


def test_dispute_changes_nothing_until_another_decides(tenant: Tenant, call_id: str) -> None:
    disputed = review(tenant, call_id, 1, Role.READ, kind="dispute", note="our collector never said this")
    assert disputed.status_code == 201, disputed.text
    assert reviews_of(tenant, call_id)["disputed"] == [1]
    assert reviews_of(tenant, call_id)["verdict"] == ["threat"]
    decided = review(tenant, call_id, 1, Role.READ, Role.REVIEW, kind="decision", verdict="reject", note="agreed")
    assert decided.status_code == 201, decided.text
    assert reviews_of(tenant, call_id)["disputed"] == []
    assert reviews_of(tenant, call_id)["verdict"] == []


def test_who_disputes_does_not_decide(tenant: Tenant, call_id: str) -> None:
    review(tenant, call_id, 1, Role.READ, Role.REVIEW, kind="dispute", note="no")
    own = review(tenant, call_id, 1, Role.READ, Role.REVIEW, kind="decision", verdict="reject")
    expect_problem(own, 403, "another reviewer")
    expect_problem(review(tenant, call_id, 0, kind="decision", verdict="reject"), 409, "not disputed")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "verdict"),
        ({"verdict": "correct"}, "labels"),
        ({"verdict": "confirm", "labels": ["threat"]}, "labels"),
        ({"verdict": "correct", "labels": ["compliant"]}, "labels"),
        ({"verdict": "correct", "labels": ["threat", "threat"]}, "twice"),
        ({"kind": "dispute"}, "note"),
        ({"kind": "dispute", "note": "x", "verdict": "reject"}, "dispute"),
        ({"verdict": "maybe"}, "verdict"),
        ({"verdict": "confirm", "reviewer": "someone else"}, "reviewer"),
    ],
)
def test_review_that_makes_no_sense_is_refused(tenant: Tenant, call_id: str, given: dict[str, Any], words: str) -> None:
    expect_problem(review(tenant, call_id, 1, **given), 422, words)
    assert reviews_of(tenant, call_id)["reviews"] == []


def test_review_of_what_is_not_there_is_refused(tenant: Tenant, call_id: str) -> None:
    expect_problem(review(tenant, call_id, 4, verdict="confirm"), 404, "4 utterances")
    expect_problem(review(tenant, call_id, -1, verdict="confirm"), 404, "4 utterances")
    expect_problem(review(tenant, "unknown", 0, verdict="confirm"), 404)
    expect_problem(review(tenant, call_id, 1, Role.READ, verdict="confirm"), 403, "review")


def test_agreement_of_two_reviewers_is_measured_beyond_chance(tenant: Tenant) -> None:
    nothing = {"utterances": 0, "agreed": 0, "kappa": None}
    assert tenant.get("/v1/reviews/agreement", Role.READ).json() == nothing
    call_id = tenant.call(*(Said(f"第{n}句", (THREAT,)) for n in range(4)))
    second = (Role.READ, Role.REVIEW, Role.INGEST)  # another set of roles is another key, and so another person
    for index, (one, other) in enumerate(
        [("confirm", "confirm"), ("confirm", "confirm"), ("reject", "reject"), ("confirm", "reject")]
    ):
        review(tenant, call_id, index, Role.READ, Role.REVIEW, verdict=one)
        review(tenant, call_id, index, *second, verdict=other)
    assert tenant.get("/v1/reviews/agreement").json() == {"utterances": 4, "agreed": 3, "kappa": 0.5}


def test_export_is_what_the_classifier_is_trained_on(tenant: Tenant, call_id: str, tmp_path: Path) -> None:
    number = tenant.call(Said("您好"), Said("打一六三零零一二三四五六找你妈", (Label.THIRD_PARTY_CONTACT,)))
    review(tenant, call_id, 1, Role.READ, Role.REVIEW, verdict="correct", labels=["insult"])
    review(tenant, call_id, 1, Role.READ, Role.REVIEW, Role.INGEST, verdict="confirm")
    review(tenant, call_id, 2, verdict="reject")
    review(tenant, number, 1, verdict="confirm")
    exported = tenant.get("/v1/reviews/export", Role.REVIEW)
    assert exported.headers["content-type"] == "application/x-ndjson"
    (tmp_path / "rows.jsonl").write_bytes(exported.content)
    rows = read_rows([tmp_path / "rows.jsonl"])
    assert [(row.text, row.labels, row.speaker, row.hard) for row in rows] == [
        ("不还就打断你的腿", (THREAT,), "collector", True),
        ("你才是骗子", (), "borrower", False),
        ("打***********找你妈", (Label.THIRD_PARTY_CONTACT,), "collector", False),
    ]
    assert rows[0].previous == ("您好，请问是本人吗",)
    assert len({row.split for row in rows if row.scenario == call_id}) == 1
    assert json.loads(exported.text.splitlines()[0])["source"] == "review"


def test_decisions_are_read_page_by_page_however_many_there_are(tenant: Tenant, call_id: str) -> None:
    review(tenant, call_id, 1, verdict="confirm")
    database = tenant.api.database
    with database.begin() as connection:
        call = connection.execute(sa.select(calls).where(calls.c.id == call_id)).one()._asdict()
        given = connection.execute(sa.select(review_rows).where(review_rows.c.call_id == call_id)).one()._asdict()
        del call["number"], given["number"]
        ids = [str(uuid4()) for _ in range(210)]
        connection.execute(sa.insert(calls), [call | {"id": one} for one in ids])
        for utterance in (1, 3):
            more = [given | {"id": str(uuid4()), "call_id": one, "utterance": utterance} for one in ids]
            connection.execute(sa.insert(review_rows), more)
    found = reviews.decided(database, tenant.id)
    read = [next(found)]
    late = tenant.call(Said("您好"), Said("老赖", (INSULT,)))
    review(tenant, late, 1, verdict="confirm")
    read += found  # what came while the first page was sent is on the last
    assert [reviewed[0].call_id for _, reviewed in read] == [call_id, *ids, late]
    assert [[one.utterance for one in reviewed] for _, reviewed in read] == [[1], *[[1, 3]] * 210, [1]]
    assert len(tenant.get("/v1/reviews/export", Role.REVIEW).text.splitlines()) == 422
