"""A recording comes in as a form, bare, as an object or with others; whichever way, it is the same call."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from uuid import uuid4

import fsspec
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from app import keys
from app.config import Settings
from app.keys import NewKey, Role
from app.main import create_app
from app.objects import Prefixes
from app.tables import calls
from pipelines.score import Engine
from tests.conftest import write_tone
from tests.lenders.conftest import ALL_ROLES, Api, Tenant, expect_problem, files_under

LARGEST = 2**20


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def fetching(api: Api, engine: Engine, bucket: Path) -> Iterator[Api]:
    """The same service with little room, that fetches objects from each tenant's folder."""
    places = f"file://{bucket}/{{tenant}}/, memory://calls/{{tenant}}/"
    settings = api.settings.model_copy(update={"object_prefixes": places, "max_upload_bytes": LARGEST})
    with TestClient(create_app(settings, engine, None), base_url="http://127.0.0.1") as client:
        yield replace(api, client=client, settings=settings)


@pytest.fixture
def lender(fetching: Api, bucket: Path) -> Tenant:
    tenant = fetching.tenant()
    (bucket / tenant.id).mkdir()
    return tenant


def stored(api: Api, call_id: str) -> Any:
    with api.database.connect() as connection:
        return connection.execute(sa.select(calls).where(calls.c.id == call_id)).one()


def test_bare_recording_is_stored_with_the_metadata_of_its_address(api: Api, tenant: Tenant, tone: Path) -> None:
    known = {"call_id": "催收 7&8", "agency": "北", "called_at": "2026-03-01T20:15:00+08:00", "collector_channel": 1}
    answer = tenant.post("/v1/calls", params=known, headers={"content-type": "audio/wav"}, content=tone.read_bytes())
    assert answer.status_code == 202, answer.text
    assert tenant.get(answer.headers["location"]).json()["metadata"] == known | {
        "collector_id": None,
        "borrower_ref": None,
        "direction": None,
        "contact": None,
        "contact_refused": None,
        "agreed_hours": None,
    }
    row = stored(api, answer.json()["id"])
    assert row.recording_sha256 == sha256(tone.read_bytes()).hexdigest()
    assert (row.recording_bytes, row.media_type, row.collector_channel) == (tone.stat().st_size, "audio/wav", 1)
    assert tenant.get(f"{answer.headers['location']}/audio").content == tone.read_bytes()


@pytest.mark.parametrize("kind", ["audio/x-wav", "video/mp4", "application/octet-stream", "Audio/WAV; codecs=1"])
def test_any_kind_of_sound_may_come_bare(tenant: Tenant, tone: Path, kind: str) -> None:
    answer = tenant.post("/v1/calls", headers={"content-type": kind}, content=tone.read_bytes())
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("query", "kind", "content", "status", "words"),
    [
        ("", "audio/wav", b"", 400, ""),
        ("", "audio/wav", b"RIFFno recording" * 50, 415, ""),
        ("", "audio/wav", b"neither this" * 50, 415, ""),
        ("", "text/plain", b"RIFF", 415, "application/json"),
        ("?colour=red", "audio/wav", b"RIFF", 422, "colour"),
        ("?collector_channel=2", "audio/wav", b"RIFF", 422, "collector_channel"),
        ("?called_at=2026-03-01T20:15:00", "audio/wav", b"RIFF", 422, "called_at"),
        ("?agency=a", "multipart/form-data; boundary=b", b"--b--", 422, "bare"),
        ("?agency=a", "application/json", b'{"object": "s3://a/b"}', 422, "bare"),
        ("", "multipart/form-data", b"--b--", 415, "boundary"),
        ("", "application/json", b'{"object": ""}', 422, "object"),
        ("", "application/json", b"[" * 10**5, 413, "larger"),
        ("", "application/json", b'{"object": "s3://a/b", "metadata": {"colour": 1}}', 422, "metadata.colour"),
    ],
)
def test_wrong_request_is_told_and_leaves_nothing(
    *, api: Api, tenant: Tenant, query: str, kind: str, content: bytes, status: int, words: str
) -> None:
    before = files_under(api.recordings.incoming)
    answer = tenant.post(f"/v1/calls{query}", headers={"content-type": kind}, content=content)
    expect_problem(answer, status, words)
    assert files_under(api.recordings.incoming) == before
    assert tenant.get("/v1/calls").json()["calls"] == []


@pytest.mark.parametrize("length_declared", [True, False])
def test_too_large_a_bare_recording_is_refused(lender: Tenant, length_declared: bool) -> None:
    sound = b"RIFF" + bytes(LARGEST)
    content: Any = sound if length_declared else (sound[i : i + 65536] for i in range(0, len(sound), 65536))
    answer = lender.post("/v1/calls", headers={"content-type": "audio/wav"}, content=content)
    expect_problem(answer, 413, "CALLAUDIT_MAX_UPLOAD_BYTES")
    assert files_under(lender.api.recordings.incoming) == set()


def test_object_is_fetched_and_becomes_a_call(lender: Tenant, bucket: Path, tone: Path) -> None:
    (bucket / lender.id / "一 号.wav").write_bytes(tone.read_bytes())
    sent = {"object": f"file://{bucket}/{lender.id}/一 号.wav", "metadata": {"collector_id": "c-17"}}
    answer = lender.post("/v1/calls", json=sent)
    assert answer.status_code == 202, answer.text
    row = stored(lender.api, answer.json()["id"])
    assert (row.recording_sha256, row.collector_id) == (sha256(tone.read_bytes()).hexdigest(), "c-17")
    assert lender.get(f"{answer.headers['location']}/audio").content == tone.read_bytes()
    assert (bucket / lender.id / "一 号.wav").exists()


def test_object_of_any_store_is_fetched_once_per_key(lender: Tenant, tone: Path) -> None:
    url, headers = f"memory://calls/{lender.id}/a.wav", {"idempotency-key": str(uuid4())}
    with fsspec.open(url, "wb") as file:
        file.write(tone.read_bytes())
    first = lender.post("/v1/calls", json={"object": url}, headers=headers)
    assert first.status_code == 202, first.text
    fsspec.filesystem("memory").rm(url)
    second = lender.post("/v1/calls", json={"object": url}, headers=headers)
    assert (second.status_code, second.content) == (202, first.content)
    expect_problem(lender.post("/v1/calls", json={"object": url}), 422, "no such object")


@pytest.mark.parametrize(
    "url",
    [
        "file://{bucket}/{other}/a.wav",
        "file://{bucket}/{tenant}/../{other}/a.wav",
        "file://{bucket}/{tenant}//../{other}/a.wav",
        "file://{bucket}/{tenant}",
        "file://{bucket}/{tenant}-2/a.wav",
        "{bucket}/{other}/a.wav",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "s3://{tenant}/a.wav",
        "simplecache::file://{bucket}/{other}/a.wav",
        "file://{bucket}/{tenant}/a.wav::file:///etc/passwd",
        "file://{bucket}/{tenant}/a\x01.wav",
        "FILE://{bucket}/{tenant}/a.wav",
    ],
)
def test_object_that_is_not_the_tenants_is_refused(lender: Tenant, bucket: Path, tone: Path, url: str) -> None:
    other = lender.api.tenant()
    (bucket / other.id).mkdir()
    (bucket / other.id / "a.wav").write_bytes(tone.read_bytes())
    sent = url.format(bucket=bucket, tenant=lender.id, other=other.id)
    problem = expect_problem(lender.post("/v1/calls", json={"object": sent}), 422, "CALLAUDIT_OBJECT_PREFIXES")
    assert problem["type"] == "urn:callaudit:problem:object-not-allowed"
    assert other.id not in problem["detail"]
    assert lender.get("/v1/calls").json()["calls"] == []


def test_link_out_of_the_folder_leads_nowhere(lender: Tenant, bucket: Path, tone: Path) -> None:
    (bucket / lender.id / "link.wav").symlink_to(tone)
    answer = lender.post("/v1/calls", json={"object": f"file://{bucket}/{lender.id}/link.wav"})
    expect_problem(answer, 422, "no such object")


def test_object_that_is_no_recording_is_told(lender: Tenant, bucket: Path) -> None:
    mine = bucket / lender.id
    (mine / "large.wav").write_bytes(b"RIFF" + bytes(LARGEST))
    (mine / "empty.wav").touch()
    (mine / "text.wav").write_bytes(b"no recording at all" * 50)
    (mine / "folder").mkdir()
    expected = {"large.wav": 413, "empty.wav": 400, "text.wav": 415, "folder": 422, "missing.wav": 422}
    for name, status in expected.items():
        expect_problem(lender.post("/v1/calls", json={"object": f"file://{mine}/{name}"}), status)
    assert files_under(lender.api.recordings.incoming) == set()


def test_without_a_setting_no_object_is_fetched(tenant: Tenant) -> None:
    expect_problem(tenant.post("/v1/calls", json={"object": "file:///etc/passwd"}), 422, "no place is set")


def test_objects_of_a_batch_are_answered_each_on_its_own(lender: Tenant, bucket: Path) -> None:
    mine = bucket / lender.id
    for index in range(3):
        write_tone(mine / f"{index}.wav", 0.5, 300.0 + index)
    (mine / "text.wav").write_bytes(b"no recording at all" * 50)
    names = ["0.wav", "missing.wav", "1.wav", "text.wav", "2.wav", "../x.wav"]
    sent = [{"object": f"file://{mine}/{name}", "metadata": {"call_id": name}} for name in names]
    answer = lender.post("/v1/calls:batch", json={"calls": sent})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [result["object"] for result in results] == [one["object"] for one in sent]
    assert [result["status"] for result in results] == [202, 422, 202, 415, 202, 422]
    kinds = [result["error"]["type"].rpartition(":")[2] if result["error"] else None for result in results]
    assert kinds == [None, "object-not-found", None, "unknown-format", None, "object-not-allowed"]
    listed = lender.get("/v1/calls").json()["calls"]
    told = {call["id"]: call["metadata"]["call_id"] for call in listed}
    assert told == {result["id"]: name for result, name in zip(results, names, strict=True) if result["id"]}


def test_batch_sent_again_takes_no_call_twice(lender: Tenant, bucket: Path) -> None:
    mine = bucket / lender.id
    sent = []
    for index in range(4):
        write_tone(mine / f"{index}.wav", 0.5, 300.0 + index)
        sent.append({"object": f"file://{mine}/{index}.wav"})
    headers = {"idempotency-key": str(uuid4())}
    first, second = (lender.post("/v1/calls:batch", json={"calls": sent}, headers=headers) for _ in range(2))
    assert second.content == first.content
    assert len(lender.get("/v1/calls").json()["calls"]) == 4


def test_store_that_does_not_answer_is_not_asked_for_every_object_of_a_batch(
    api: Api, engine: Engine, bucket: Path, tenant: Tenant
) -> None:
    asked = []

    class Silent(StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.client_address)

    (bucket / tenant.id).mkdir()
    write_tone(bucket / tenant.id / "a.wav", 0.5)
    with ThreadingTCPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        silent = f"webhdfs://127.0.0.1:{server.server_address[1]}"
        places = f"{silent}/{{tenant}}/, file://{bucket}/{{tenant}}/"
        settings = api.settings.model_copy(update={"object_prefixes": places})
        sent = [{"object": f"{silent}/{tenant.id}/{index}.wav"} for index in range(60)]
        sent.append({"object": f"file://{bucket}/{tenant.id}/a.wav"})
        with TestClient(create_app(settings, engine, None), base_url="http://127.0.0.1") as client:
            lender = Tenant(replace(api, client=client, settings=settings), tenant.id)
            alone = lender.post("/v1/calls", json=sent[0])
            once = len(asked)
            answer = lender.post("/v1/calls:batch", json={"calls": sent})
        server.shutdown()
    assert expect_problem(alone, 503, "does not answer")["type"].endswith(":object-store-unavailable")
    assert alone.headers["retry-after"] == "30"
    assert [result["status"] for result in answer.json()["results"]] == [503] * 60 + [202]
    assert 0 < len(asked) - once <= 4 * once  # four objects are fetched at once


def test_batch_has_its_limits(lender: Tenant) -> None:
    too_many = [{"object": "file:///x"}] * 1001
    expect_problem(lender.post("/v1/calls:batch", json={"calls": too_many}), 422, "1000")
    expect_problem(lender.post("/v1/calls:batch", json={"calls": []}), 422, "calls")
    expect_problem(lender.post("/v1/calls:batch", Role.READ, json={"calls": [{"object": "x"}]}), 403, "ingest")
    most = lender.post("/v1/calls:batch", json={"calls": [{"object": "file:///x"}] * 1000})
    assert [result["status"] for result in most.json()["results"]] == [422] * 1000


def test_batch_stays_within_the_quota(lender: Tenant, bucket: Path) -> None:
    write_tone(bucket / lender.id / "a.wav", 0.5)
    with lender.api.database.begin() as connection:
        lender.tokens[ALL_ROLES] = keys.create(connection, NewKey(lender.id, ALL_ROLES, calls_per_day=1))[1]
    sent = {"object": f"file://{bucket}/{lender.id}/a.wav"}
    assert lender.post("/v1/calls:batch", json={"calls": [sent]}).json()["results"][0]["status"] == 202
    expect_problem(lender.post("/v1/calls:batch", json={"calls": [sent]}), 429, "24 hours")


def test_full_queue_takes_no_more_calls(api: Api, engine: Engine, tone: Path) -> None:
    with api.database.connect() as connection:
        waiting = connection.execute(
            sa.select(sa.func.count()).select_from(calls).where(calls.c.status == "queued")
        ).scalar_one()
    settings = api.settings.model_copy(update={"max_queued_calls": waiting + 1})
    with TestClient(create_app(settings, engine, None), base_url="http://127.0.0.1") as client:
        tenant = replace(api, client=client).tenant()
        form, headers = {"file": ("a.wav", tone.read_bytes())}, {"idempotency-key": str(uuid4())}
        first = tenant.post("/v1/calls", files=form, headers=headers)
        assert first.status_code == 202
        refused = tenant.post("/v1/calls", files=form)
        expect_problem(refused, 503, "nothing was stored")
        assert int(refused.headers["retry-after"]) > 0
        expect_problem(tenant.post("/v1/calls", content=b"RIFF", headers={"content-type": "audio/wav"}), 503)
        expect_problem(tenant.post("/v1/calls:batch", json={"calls": [{"object": "file:///x"}]}), 503)
        assert tenant.post("/v1/calls", files=form, headers=headers).content == first.content
        assert tenant.request("DELETE", first.headers["location"]).status_code == 204
        assert tenant.post("/v1/calls", files=form).status_code == 202


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("s3://bucket/folder/", "whose"),
        ("north=s3://bucket/folder", "is no prefix"),
        ("north=https://example.org/", "bucket or a folder"),
        ("north=simplecache::s3://bucket/", "is no prefix"),
        ("north=/srv/calls/", "is no prefix"),
    ],
)
def test_prefix_that_opens_too_much_is_refused(setting: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Settings(object_prefixes=setting)


def test_prefixes_are_each_tenants_own() -> None:
    known = Prefixes.read("north=s3://north/in/, s3://all/{tenant}/, south=file:///srv/south/")
    assert known.of("north") == ["s3://north/in/", "s3://all/north/"]
    assert known.of("south") == ["s3://all/south/", "file:///srv/south/"]
    assert Prefixes.read("").of("north") == []


def test_call_of_a_day_to_come_is_refused_on_every_way_in(tenant: Tenant, tone: Path) -> None:
    wav = {"headers": {"content-type": "audio/wav"}, "content": tone.read_bytes()}
    for hours, status in ((23, 202), (25, 422)):
        known = {"called_at": (datetime.now(UTC) + timedelta(hours=hours)).isoformat()}
        form = {"files": {"file": tone.read_bytes()}, "data": {"metadata": json.dumps(known)}}
        for sent in ({"params": known, **wav}, form):
            answer = tenant.post("/v1/calls", **sent)
            assert answer.status_code == status, answer.text
    expect_problem(answer, 422, "lies more than a day ahead")
    known = {"called_at": "9999-12-31T23:59:59Z"}
    wanted = {"object": "s3://bucket/a.wav", "metadata": known}
    expect_problem(tenant.post("/v1/calls", json=wanted), 422, "called_at")
    expect_problem(tenant.post("/v1/calls:batch", json={"calls": [wanted]}), 422, "called_at")


def test_form_says_the_same_as_an_address(tenant: Tenant, tone: Path) -> None:
    known = {"collector_id": "c-1", "direction": "outbound", "collector_channel": 0}
    bare = tenant.post("/v1/calls", params=known, headers={"content-type": "audio/wav"}, content=tone.read_bytes())
    form = tenant.post("/v1/calls", files={"file": tone.read_bytes()}, data={"metadata": json.dumps(known)})
    shown = [tenant.get(answer.headers["location"]).json()["metadata"] for answer in (bare, form)]
    assert shown[0] == shown[1]
