"""What the OpenAPI document shows as examples is what the service takes and gives."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from models.call import Label
from tests.conftest import CALLS
from tests.lenders.conftest import Bucket, Said, Started

JSON = "application/json"
RECORDING = (CALLS / "fake-police.mp3").read_bytes()
# What somebody else makes of it is no part of the answer's form.
FREE = ("facts", "metadata")


@dataclass(frozen=True)
class Answered:
    operation: str
    answer: httpx2.Response
    described: dict[str, Any]  # of this status, in the document


@pytest.fixture(scope="module")
def document(started: Started) -> Any:
    return started.client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def answered(started: Started, document: Any) -> list[Answered]:
    """Every operation with JSON or nothing, asked with every example of its body; what is deleted comes last."""
    north = started.north
    webhook = north.post("/v1/webhooks", json={"url": "https://lender.example/"}).json()["webhook"]["id"]
    call = north.call(Said("您好"), Said("不还就打断你的腿", (Label.THREAT,)), collector_id="c-17", agency="north")
    key = north.post("/v1/keys", json={"roles": ["read"]}).json()["key"]["prefix"]
    known = {"call_id": call, "index": "1", "webhook_id": webhook, "prefix": key}
    found = []
    for method, path, operation in sorted(
        operations(document), key=lambda one: ("POST PUT GET DELETE".index(one[0]), -len(one[1]))
    ):
        bodies = list(examples(document, operation)) or [None]
        for body in bodies:
            for name in objects_in(body):
                started.bucket.put(name, RECORDING)
            filled = re.sub(r"\{(\w+)\}", lambda name: known[name[1]], path)
            answer = north.request(method, filled, json=body) if body else north.request(method, filled)
            described = operation["responses"].get(str(answer.status_code), {})
            found.append(Answered(f"{method} {path}", answer, described))
    return found


def operations(document: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def examples(document: Any, operation: dict[str, Any]) -> Iterator[Any]:
    schema = operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema", {})
    for one in schema.get("anyOf", [schema]):
        name = one.get("$ref", "").rpartition("/")[2]
        yield from (document["components"]["schemas"][name] if name else one).get("examples", [])


def objects_in(body: Any) -> Iterator[str]:
    """Keys in north's bucket."""
    for one in [body, *body.get("calls", [])] if isinstance(body, dict) else []:
        if "object" in one:
            yield one["object"].removeprefix(f"s3://{Bucket.name}/")


def test_every_body_has_an_example(document: Any) -> None:
    without = [
        f"{method} {path}"
        for method, path, operation in operations(document)
        if "requestBody" in operation and not list(examples(document, operation))
    ]
    assert without == []


def test_every_answer_has_an_example(answered: list[Answered]) -> None:
    without = [
        one.operation
        for one in answered
        if JSON in one.described.get("content", {}) and "example" not in one.described["content"][JSON]
    ]
    assert [one for one in without if one not in ("GET /healthz", "GET /readyz", "GET /v1/schema/report.json")] == []


def test_every_example_is_taken(answered: list[Answered]) -> None:
    refused = {one.operation: one.answer.text for one in answered if not one.answer.is_success}
    assert refused == {}


def test_answers_and_their_examples_are_as_described(document: Any, answered: list[Answered]) -> None:
    compared = 0
    for one in answered:
        described = one.described.get("content", {}).get(JSON)
        if described is None:
            continue
        schema = {**described["schema"], "components": document["components"]}
        told = one.answer.json()
        shown = [described["example"]] if "example" in described else []
        for content in [told, *shown]:
            wrong = [
                f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(schema).iter_errors(content)
            ]
            assert wrong == [], one.operation
        for content in shown:
            assert differences(content, told) == [], one.operation
            compared += 1
    assert compared >= 20


def differences(example: Any, told: Any, place: str = "") -> list[str]:
    """Names that one of the two has and the other has not; of lists, in their first entries."""
    if isinstance(example, dict) and isinstance(told, dict):
        found = [f"{place}.{name}" for name in sorted(set(example) ^ set(told))]
        for name in sorted(set(example) & set(told) - set(FREE)):
            found += differences(example[name], told[name], f"{place}.{name}")
        return found
    if isinstance(example, list) and isinstance(told, list) and example and told:
        return differences(example[0], told[0], f"{place}[0]")
    return []


def test_example_of_metadata_goes_with_a_form_and_with_a_bare_recording(started: Started, document: Any) -> None:
    (known,) = document["components"]["schemas"]["Metadata"]["examples"]
    form = {"files": {"file": ("call.mp3", RECORDING)}, "data": {"metadata": json.dumps(known)}}
    bare = {"headers": {"content-type": "audio/mpeg"}, "content": RECORDING, "params": known}
    for sent in (form, bare):
        answer = started.north.post("/v1/calls", **sent)
        assert answer.status_code == 202, answer.text
        kept = started.north.get(answer.headers["location"]).json()["metadata"]
        assert {name: value for name, value in kept.items() if value is not None} == known
