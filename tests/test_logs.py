"""Logs tell of calls by their ids, as JSON or for people, and never what was said."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.conftest import CALLS, ROOT, Program, Start

CALL_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
SECRET = "不还就打断你的腿"
# A program that logs as ours do: of a call, and of an error whose message and notes quote what was said.
LOGGING = f"""
import logging, sys
from app.logs import log_to_stderr
log_to_stderr("INFO", sys.argv[1])
log = logging.getLogger("app.jobs")
log.info("call %s done: %.1f s of sound", "{CALL_ID}", 2.5)
try:
    raise ValueError("{SECRET}")
except ValueError:
    log.exception("unforeseen")
log.info("two\\nlines")
log.debug("not wanted")
"""


def logged(form: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", LOGGING, form]
    return subprocess.run(command, text=True, cwd=ROOT, timeout=60, check=True, **options)


@pytest.mark.parametrize("form", ["json", "auto"])
def test_json_has_a_line_an_event_with_the_id_of_its_call(form: str) -> None:
    done, failed, lines = (json.loads(line) for line in logged(form, stderr=subprocess.PIPE).stderr.splitlines())
    assert (done["level"], done["logger"], done["call_id"]) == ("INFO", "app.jobs", CALL_ID)
    assert done["message"] == f"call {CALL_ID} done: 2.5 s of sound"
    assert done["time"].endswith("+00:00")
    assert "call_id" not in failed
    assert failed["error"].startswith("ValueError at ")
    assert SECRET not in str(failed)
    assert lines["message"] == "two\nlines"


def test_job_library_logs_in_our_form() -> None:
    program = "import dbos, logging; from app.logs import log_to_stderr; log_to_stderr('INFO', 'json')\n"
    program += "logging.getLogger('dbos').warning('the database is away:\\nConnection refused')"
    command = [sys.executable, "-c", program]
    written = subprocess.run(command, text=True, cwd=ROOT, timeout=60, check=True, stderr=subprocess.PIPE).stderr
    (told,) = (json.loads(line) for line in written.splitlines())
    assert (told["logger"], told["message"]) == ("dbos", "the database is away:\nConnection refused")


def test_libraries_of_buckets_name_no_file_even_at_debug(s3: str) -> None:
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    bucket = boto3.client("s3", endpoint_url=s3, **keys)
    bucket.create_bucket(Bucket="secret-calls")
    bucket.close()
    program = "import fsspec, sys; from app.logs import log_to_stderr; log_to_stderr('DEBUG', 'json')\n"
    program += "with fsspec.open(sys.argv[1], 'wb') as file: file.write(b'x')\n"
    program += "with fsspec.open(sys.argv[1], 'rb') as file: print(file.read())"
    done = subprocess.run(
        [sys.executable, "-c", program, "s3://secret-calls/wang-xiaoming.wav"],
        env={**os.environ, **{name.upper(): value for name, value in keys.items()}, "AWS_ENDPOINT_URL": s3,
             "AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "b'x'\n"
    assert "secret-calls" not in done.stderr
    assert "wang-xiaoming" not in done.stderr


def test_text_quotes_no_error_either() -> None:
    written = logged("text", stderr=subprocess.PIPE).stderr
    assert f"INFO app.jobs: call {CALL_ID} done: 2.5 s of sound\n" in written
    assert "ValueError at " in written
    assert SECRET not in written


def test_terminal_gets_text() -> None:
    ours, theirs = pty.openpty()
    try:
        logged("auto", stderr=theirs)
        written = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert f"INFO app.jobs: call {CALL_ID} done" in written
    assert "{" not in written


def test_service_logs_a_call_from_door_to_report_without_its_words(start_program: Start, tmp_path: Path) -> None:
    program: Program = start_program(tmp_path, settings={"CALLAUDIT_LOG_LEVEL": "DEBUG"})
    call_id = program.accepted(CALLS / "fake-police.mp3", name="王小明.mp3", metadata='{"borrower_ref": "b-77"}')
    call = program.finished(call_id)
    assert call["report"]["utterances"]
    program.get("/v1/utterances", params={"q": "警察"})
    program.stop()
    events = [json.loads(line) for line in program.lines if line.startswith("{")]
    told = [event["message"] for event in events if event.get("call_id") == call_id]
    assert any("accepted" in message for message in told)
    assert any("done: " in message for message in told)
    words = [u["text"] for u in call["report"]["utterances"] if len(u["text"]) > 3]
    assert [word for word in (*words, "王小明", "b-77", "警察") if word in program.log] == []
    # What the program says at its start, to whoever started it, is no log.
    assert all("listening on" in line or "API key" in line for line in program.lines if not line.startswith("{"))
