"""A lender's own bucket, over S3 -> a call, a report, and the recording back."""

import time
from typing import Any
from uuid import uuid4

from tests.conftest import CALLS, DONE_WITHIN_S
from tests.lenders.conftest import Started, expect_problem

RECORDING = (CALLS / "fake-police.mp3").read_bytes()


def test_object_of_a_bucket_becomes_a_scored_call(started: Started) -> None:
    url = started.bucket.put(f"{uuid4()}/催收 一号.mp3", RECORDING)
    sent = {"object": url, "metadata": {"call_id": "from-a-bucket", "collector_id": "c-17"}}
    answer = started.north.post("/v1/calls", json=sent)
    assert answer.status_code == 202, answer.text
    call = finished(started, answer.headers["location"])
    assert (call["status"], call["metadata"]["call_id"]) == ("done", "from-a-bucket"), call
    assert call["report"]["utterances"]
    assert started.north.get(f"{answer.headers['location']}/audio").content == RECORDING


def test_object_that_is_not_there_or_not_ones_own_is_refused(started: Started) -> None:
    url = started.bucket.put(f"{uuid4()}.mp3", RECORDING)
    missing = started.north.post("/v1/calls", json={"object": url.replace(".mp3", ".wav")})
    assert expect_problem(missing, 422)["type"].endswith(":object-not-found")
    stranger = started.south.post("/v1/calls", json={"object": url})
    assert expect_problem(stranger, 422)["type"].endswith(":object-not-allowed")


def test_object_that_is_no_recording_leaves_nothing(started: Started) -> None:
    url = started.bucket.put(f"{uuid4()}.mp3", b"no recording at all" * 50)
    assert expect_problem(started.north.post("/v1/calls", json={"object": url}), 415)["type"].endswith("unknown-format")
    assert list(started.recordings.incoming.iterdir()) == []


def finished(started: Started, location: str) -> Any:
    deadline = time.monotonic() + DONE_WITHIN_S
    while (call := started.north.get(location).json())["status"] not in ("done", "failed"):
        assert time.monotonic() < deadline, call
        time.sleep(0.1)
    return call
