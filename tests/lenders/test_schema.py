"""The service does what its OpenAPI document says, also for requests that nobody thought of: schemathesis."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.lenders.conftest import ALL_ROLES, Started

PHASES = "examples,coverage"  # `coverage`: each rule of the schema kept, and broken, by a request of its own
CHECKS_LEFT_OUT = {
    "missing_required_header": "the key that is given on the command line comes along whatever the request leaves out;"
    " `ignored_auth` asks without one and with a wrong one, and test_access.py does on every route",
    "response_schema_conformance": "`answer_is_as_described` in schema_hooks.py does it, and knows of `fields`",
}
# Of the methods that an address does not have; test_hostile.py tries the others.
METHODS = ["PATCH"]
# Requests that fit the schema and get these answers nevertheless, since no schema can say what else is wanted.
UNSAID = {
    "POST /v1/calls": ("400 415 422", "the body must be a recording, and an object must lie in an agreed bucket"),
    "POST /v1/calls:batch": ("422", "no call is made later than tomorrow"),
    "POST /v1/keys": ("422", "the time at which a key expires must be in the future"),
    "POST /v1/utterances/classify": ("422", "'previous' must be as long as 'texts'"),
    "POST /v1/calls/{call_id}/utterances/{index}/reviews": ("422", "which verdict takes labels, and what takes a note"),
    "GET /v1/utterances": ("422", "the call that `before` names may be deleted"),
    "GET /v1/calls": ("422", "a cursor is one that was given before"),
}
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "429", "5xx"]  # as schemathesis has it


def test_every_route_does_what_the_document_says(started: Started, tmp_path: Path) -> None:
    lines = ["[phases.coverage]", f"unexpected-methods = {METHODS}"]
    for operation, (statuses, _why) in UNSAID.items():
        lines += ["[[operations]]", f"include-name = {json.dumps(operation)}"]
        lines.append(f"checks.positive_data_acceptance.expected-statuses = {[*ACCEPTED, *statuses.split()]}")
    (tmp_path / "schemathesis.toml").write_text("\n".join(lines))
    document = started.client.get("/openapi.json").json()  # made once; schemathesis waits for it for 10 s only
    done = run(started, tmp_path)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    number = sum(len(methods) for methods in document["paths"].values())
    assert f"Tested: {number}" in done.stdout
    assert "Traceback" not in started.program.log


def run(started: Started, folder: Path) -> "subprocess.CompletedProcess[str]":
    command: list[str] = [sys.executable, "-m", "schemathesis.cli", "run", f"{started.program.url}/openapi.json"]
    # Of a tenant without objects in the bucket, each of which would be fetched. By this spelling the header is taken
    # away to ask without a key.
    command += ["--header", f"Authorization: Bearer {started.tenant().token(*ALL_ROLES)}"]
    command += ["--exclude-checks", ",".join(CHECKS_LEFT_OUT), "--seed", "1"]
    command += ["--phases", PHASES, "--generation-database", "none", "--no-color"]
    command += ["--continue-on-failure", "--warnings", "off", "--request-timeout", "60"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.lenders.schema_hooks", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=600, check=False
    )
