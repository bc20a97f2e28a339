"""What schemathesis cannot know of the service; it loads this by the name in SCHEMATHESIS_HOOKS."""

import itertools
import re
from typing import Any
from uuid import uuid4

import schemathesis
from jsonschema import Draft202012Validator
from jsonschema.validators import extend
from schemathesis.specs.openapi.checks import response_schema_conformance

_FEW = 2  # of the hundreds of names that `fields` may have, each of which would be a request
_Part = extend(Draft202012Validator, {"required": lambda *_: None})

_senders = itertools.count()
_mistyped: set[tuple[str, str]] = set()


@schemathesis.hook
def before_load_schema(_context: Any, document: Any) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "fields":
                    del parameter["schema"]["items"]["enum"][_FEW:]


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """In an address all is text, so that one wrong type of a parameter says what all of them do."""
    sent = case.meta.phase.data if case.meta else None
    if getattr(sent, "scenario", None) != "incorrect_type" or sent.parameter_location != "query":
        return True
    parameter = (case.operation.label, str(sent.parameter))
    if parameter in _mistyped:
        return False
    _mistyped.add(parameter)
    return True


@schemathesis.check
def answer_is_as_described(context: Any, response: Any, case: Any) -> bool | None:
    """With `fields`, whatever the schema requires; no schema can say that."""
    if response.status_code != 200 or "fields" not in (case.query or {}):
        return response_schema_conformance(context, response, case)
    document = case.operation.schema.raw_schema
    described = document["paths"][case.operation.path][case.operation.method]["responses"]["200"]
    schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
    wrong = [f"{fault.json_path}: {fault.message}" for fault in _Part(schema).iter_errors(response.json())]
    assert wrong == [], case.query
    return None


@schemathesis.hook
def before_call(_context: Any, case: Any, _arguments: Any) -> None:
    # The service slows down an address that sends no keys. A proxy on its own machine may say for whom it asks.
    sender = next(_senders)
    case.headers["X-Forwarded-For"] = f"10.{sender >> 16 & 255}.{sender >> 8 & 255}.{sender & 255}"
    # A key that fits any request once fits no other after that.
    name = next((name for name in case.headers if name.lower() == "idempotency-key"), None)
    if name and re.fullmatch("[ -~]{1,255}", str(case.headers[name])):
        case.headers[name] = str(uuid4())
