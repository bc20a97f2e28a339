import json
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile

from app.schema import FILE
from pipelines.report import Report
from tests.conftest import CALLS, ROOT, Program, Start, write_tone

DEMO = CALLS / "fake-police.mp3"
MIB = 2**20


@pytest.fixture(scope="module")
def scored(service: Program) -> Any:
    """A demo call that went all the way."""
    metadata = {"call_id": "crm-7", "collector_id": "c-scored", "called_at": "2026-03-01T20:15:00+08:00"}
    call = service.finished(service.accepted(DEMO, metadata=json.dumps(metadata)))
    assert call["status"] == "done", call
    return call


@pytest.fixture(scope="module")
def small_service(start_program: Start, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Little of everything: upload size, recording length, patience with the database."""
    settings = {
        "CALLAUDIT_MAX_UPLOAD_BYTES": str(8 * MIB),
        "CALLAUDIT_MAX_RECORDING_SECONDS": "20",
        "CALLAUDIT_DATABASE_WAIT_SECONDS": "0.5",
    }
    return start_program(tmp_path_factory.mktemp("small"), settings=settings)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system that is soon full can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_uploaded_call_becomes_a_report(service: Program, scored: dict[str, Any]) -> None:
    report = Report.model_validate(scored["report"])
    assert report.recording.sha256 == sha256(DEMO.read_bytes()).hexdigest()
    assert report.recording.duration > 30
    assert report.utterances
    assert {part.role for part in report.models} == {"transcriber", "classifier", "speakers"}
    assert scored["error"] is None
    assert scored["progress"] == 1.0
    assert scored["metadata"]["called_at"] == "2026-03-01T20:15:00+08:00"
    assert scored["metadata"]["call_id"] == "crm-7"


def test_answer_to_an_upload_says_where_the_result_will_be(service: Program, tone: Path) -> None:
    answer = service.upload(tone)
    assert answer.status_code == 202
    assert answer.json() == {"id": answer.json()["id"], "status": "queued"}
    assert answer.headers["location"] == f"/v1/calls/{answer.json()['id']}"
    assert service.get(answer.headers["location"]).status_code == 200


def test_sound_without_speech_is_done_and_has_no_utterances(service: Program, tone: Path) -> None:
    call = service.finished(service.accepted(tone))
    assert call["status"] == "done"
    assert call["report"]["utterances"] == []
    assert call["labels"] == ["compliant"]


def test_logs_hold_neither_what_was_said_nor_who_called(service: Program, scored: dict[str, Any]) -> None:
    service.get("/v1/calls", params={"collector_id": "c-scored"})
    assert scored["id"] in service.log
    assert "c-scored" not in service.log
    assert not [u["text"] for u in scored["report"]["utterances"] if len(u["text"]) > 1 and u["text"] in service.log]


def test_many_uploads_at_once_all_arrive(service: Program, tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.wav" for index in range(6)]
    for index, file in enumerate(files):
        write_tone(file, 1.0, 300.0 + index)
    with ThreadPoolExecutor(6) as pool:
        ids = list(pool.map(service.accepted, files))
    assert len(set(ids)) == 6
    for call_id, file in zip(ids, files, strict=True):
        call = service.finished(call_id)
        assert call["report"]["recording"]["sha256"] == sha256(file.read_bytes()).hexdigest()


def test_same_file_twice_is_stored_once_and_goes_with_its_last_call(service: Program, tmp_path: Path) -> None:
    file = tmp_path / "once.wav"
    write_tone(file, 1.5, 555.0)
    stored = service.data_dir / "recordings"
    pattern = f"**/{sha256(file.read_bytes()).hexdigest()}*"
    first, second = service.accepted(file), service.accepted(file)
    assert first != second
    assert len(list(stored.glob(pattern))) == 1
    service.finished(first)
    assert httpx2.delete(f"{service.url}/v1/calls/{first}").status_code == 204
    assert service.get(f"/v1/calls/{first}").status_code == 404
    assert len(list(stored.glob(pattern))) == 1
    assert service.finished(second)["status"] == "done"
    assert httpx2.delete(f"{service.url}/v1/calls/{second}").status_code == 204
    assert not list(stored.glob(pattern))
    assert httpx2.delete(f"{service.url}/v1/calls/{second}").status_code == 404


def test_calls_are_listed_newest_first_page_by_page(service: Program, tone: Path) -> None:
    ids = [service.accepted(tone, metadata='{"collector_id": "paged"}') for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = service.get("/v1/calls", params={"collector_id": "paged", "limit": 2, **cursor}).json()
        seen += [call["id"] for call in page["calls"]]
        cursor = {"cursor": page["next_cursor"]}
        service.accepted(tone, metadata='{"collector_id": "paged"}')  # must not shift what follows
    assert seen == ids[::-1]
    assert page["next_cursor"] is None


def test_calls_are_filtered(service: Program, scored: dict[str, Any]) -> None:
    def found(**wanted: str) -> set[str]:
        answer = service.get("/v1/calls", params={"limit": 200, **wanted})
        assert answer.status_code == 200, answer.text
        return {call["id"] for call in answer.json()["calls"]}

    mine = scored["id"]
    assert mine in found(status="done")
    assert mine not in found(status="failed")
    assert found(collector_id="c-scored") == {mine}
    assert found(collector_id="nobody") == set()
    for label in ("threat", "insult", "third_party_contact", "compliant"):
        assert (mine in found(label=label)) == (label in scored["labels"])
    assert mine in found(called_from="2026-03-01T12:15:00Z", called_before="2026-03-01T12:15:01Z")
    assert mine not in found(called_from="2026-03-01T12:15:01Z")
    assert mine not in found(called_before="2026-03-01T12:15:00Z")


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=100-", 100, None), ("bytes=-50", -50, None), ("bytes=10-99999999", 10, None)],
)
def test_audio_is_given_by_range(
    service: Program, scored: dict[str, Any], wanted: str, start: int, stop: int | None
) -> None:
    content = DEMO.read_bytes()
    answer = service.get(f"/v1/calls/{scored['id']}/audio", headers={"range": wanted})
    assert answer.status_code == 206
    assert answer.content == content[start:stop]
    first = start % len(content)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(content)}"


def test_audio_is_given_whole(service: Program, scored: dict[str, Any]) -> None:
    path = f"/v1/calls/{scored['id']}/audio"
    whole = service.get(path)
    assert (whole.status_code, whole.content) == (200, DEMO.read_bytes())
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == "audio/mpeg"
    head = httpx2.head(service.url + path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    for ignored in ({"range": "lines=1-2"}, {"range": "bytes=0-1", "if-range": '"another"'}, {"range": "bytes=-"}):
        assert service.get(path, headers=ignored).status_code == 200
    same = service.get(path, headers={"range": "bytes=0-1", "if-range": whole.headers["etag"]})
    assert same.status_code == 206


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=5-4", "bytes=-0"])
def test_range_beyond_the_audio_is_refused(service: Program, scored: dict[str, Any], wanted: str) -> None:
    answer = service.get(f"/v1/calls/{scored['id']}/audio", headers={"range": wanted})
    expect_problem(answer, 416, "range")
    assert answer.headers["content-range"] == f"bytes */{DEMO.stat().st_size}"


def test_texts_are_labelled_at_once(service: Program) -> None:
    texts = ["您好，请问是张先生吗？", "再不还钱我就打断你的腿！"] * 500
    answer = httpx2.post(f"{service.url}/v1/utterances/classify", json={"texts": texts}, timeout=60)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [result["text"] for result in results] == texts
    assert all(0 <= share <= 1 for result in results for share in result["scores"].values())
    assert set(results[0]["scores"]) == {"threat", "insult", "third_party_contact"}


def test_texts_may_come_with_what_was_said_before(service: Program) -> None:
    sent = {"texts": ["那我就去找她。", "好的。"], "previous": [["你妈妈住哪里我知道。", "你不还是吧？"], []]}
    answer = httpx2.post(f"{service.url}/v1/utterances/classify", json=sent)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["results"]) == 2


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"no json", 422, "JSON"),
        (b'{"texts": []}', 422, "texts"),
        (b'{"texts": [" "]}', 422, "texts.0"),
        (json.dumps({"texts": ["a"] * 1001}).encode(), 422, "1000"),
        (b'{"texts": ["a"], "previous": []}', 422, "previous"),
        (b'{"texts": ["' + b"a" * 33 * MIB + b'"]}', 413, "larger"),
        (b'{"texts": ["\xff"]}', 422, "JSON"),
    ],
)
def test_texts_that_cannot_be_labelled_are_refused(service: Program, body: bytes, status: int, words: str) -> None:
    expect_problem(httpx2.post(f"{service.url}/v1/utterances/classify", content=body), status, words)


def test_schema_of_the_report_is_published(service: Program) -> None:
    published = service.get("/v1/schema/report.json").json()
    assert published == json.loads(FILE.read_text("utf8")), "the report changed: run `make schema`"


def test_service_tells_that_it_is_alive_and_ready(service: Program) -> None:
    assert service.get("/healthz").json() == {"status": "alive"}
    assert service.get("/readyz").json() == {"status": "ready"}


def test_api_describes_itself(service: Program) -> None:
    paths = service.get("/openapi.json").json()["paths"]
    form = paths["/v1/calls"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"file", "metadata"}
    assert "texts" in json.dumps(paths["/v1/utterances/classify"]["post"]["requestBody"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/calls/unknown", 404),
        ("GET", "/v1/calls/unknown/audio", 404),
        ("GET", "/v1/calls/%00", 404),
        ("GET", "/v1/calls/..%2f..%2fcallaudit.db", 404),
        ("DELETE", "/v1/calls/unknown", 404),
        ("PUT", "/v1/calls", 405),
        ("GET", "/v1/calls?status=lost", 422),
        ("GET", "/v1/calls?cursor=!", 422),
        ("GET", "/v1/calls?limit=0", 422),
        ("GET", "/v1/calls?called_from=yesterday", 422),
    ],
)
def test_wrong_request_gets_a_problem(service: Program, method: str, path: str, status: int) -> None:
    expect_problem(httpx2.request(method, service.url + path), status)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("no json", "metadata"),
        ("[]", "metadata"),
        ('{"colour": "red"}', "metadata.colour"),
        ('{"called_at": "2026-03-01T20:15:00"}', "metadata.called_at"),
        ('{"direction": "sideways"}', "metadata.direction"),
        ('{"collector_channel": 2}', "metadata.collector_channel"),
        ('{"collector_channel": false}', "metadata.collector_channel"),
        ('{"agreed_hours": 0}', "metadata.agreed_hours"),
    ],
)
def test_metadata_that_are_wrong_are_refused(service: Program, tone: Path, metadata: str, words: str) -> None:
    expect_problem(service.upload(tone, metadata=metadata), 422, words)


def test_request_that_is_no_upload_is_refused(service: Program, tone: Path) -> None:
    url = f"{service.url}/v1/calls"
    expect_problem(httpx2.post(url, content=tone.read_bytes()), 415, "multipart")
    expect_problem(httpx2.post(url, files={"recording": b"x"}), 422, "'file'")
    expect_problem(httpx2.post(url, files=[("file", b"x"), ("file", b"y")]), 422, "several")
    form = {"content-type": "multipart/form-data; boundary=b"}
    expect_problem(httpx2.post(url, content=b"nonsense", headers=form), 400, "multipart")
    cut = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nRIFF'
    expect_problem(httpx2.post(url, content=cut, headers=form), 400, "last boundary")


@pytest.mark.parametrize("name", ["../../../escaped.wav", "/tmp/escaped.wav", "nul\0.wav", "a" * 3000, "录音.wav"])  # noqa: S108
def test_name_of_an_uploaded_file_leads_nowhere(service: Program, tone: Path, name: str) -> None:
    quoted = name.encode().replace(b'"', b"%22")
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n--b--\r\n'
    answer = httpx2.post(
        f"{service.url}/v1/calls",
        content=body % (quoted, tone.read_bytes()),
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    assert answer.status_code == 202, answer.text
    assert not list(service.data_dir.parent.glob("**/*escaped*"))
    assert not Path("/tmp/escaped.wav").exists()  # noqa: S108


@pytest.mark.parametrize("length_declared", [True, False])
def test_too_large_an_upload_is_refused_while_it_comes_in(small_service: Program, length_declared: bool) -> None:
    before = stored_files(small_service)
    body = multipart(b"RIFF" + bytes(10 * MIB))
    content: Any = body if length_declared else (body[i : i + 65536] for i in range(0, len(body), 65536))
    expect_problem(post_form(small_service, content), 413, "CALLAUDIT_MAX_UPLOAD_BYTES")
    assert stored_files(small_service) == before


def test_too_long_a_recording_is_a_failed_call_that_says_so(small_service: Program, tmp_path: Path) -> None:
    # Its length is stated at its end only. Written by the second: libsndfile encodes a whole write on its stack.
    with soundfile.SoundFile(tmp_path / "long.ogg", "w", 8000, 1) as long:
        for _ in range(600):
            long.write(np.zeros(8000))
    call = small_service.finished(small_service.accepted(tmp_path / "long.ogg"))
    assert call["status"] == "failed"
    assert call["error"]["status"] == 413
    assert "CALLAUDIT_MAX_RECORDING_SECONDS" in call["error"]["detail"]
    assert call["report"] is None


def test_full_disk_stores_nothing_by_halves(small_disk: Path, tone: Path, tmp_path: Path, start_program: Start) -> None:
    service = start_program(tmp_path / "data", settings={"CALLAUDIT_RECORDINGS_URL": str(small_disk / "recordings")})
    filler = small_disk / "filler"
    filler.write_bytes(bytes(7 * MIB))
    expect_problem(service.upload(two_megabytes(tmp_path)), 507, "disk is full")
    filler.unlink()
    assert not [file for file in small_disk.rglob("*") if file.is_file()]
    assert count_calls(service) == 0
    assert service.finished(service.accepted(tone))["status"] == "done"
    service.stop()


def test_what_no_file_can_hold_is_not_stored_by_halves(small_service: Program, tone: Path, tmp_path: Path) -> None:
    before, calls = stored_files(small_service), count_calls(small_service)
    pid = small_service.process.pid
    usual = resource.prlimit(pid, resource.RLIMIT_FSIZE, (MIB, resource.RLIM_INFINITY))
    try:
        expect_problem(small_service.upload(two_megabytes(tmp_path)), 507, "disk is full")
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, usual)
    assert stored_files(small_service) == before
    assert count_calls(small_service) == calls
    assert small_service.finished(small_service.accepted(tone))["status"] == "done"


def test_locked_database_refuses_uploads_and_still_answers_questions(small_service: Program, tmp_path: Path) -> None:
    write_tone(tmp_path / "locked.wav", 1.0, 777.0)
    before = stored_files(small_service)
    other = sqlite3.connect(small_service.data_dir / "callaudit.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        answer = small_service.upload(tmp_path / "locked.wav")
        expect_problem(answer, 503, "locked")
        assert answer.headers["retry-after"]
        assert stored_files(small_service) == before
        assert small_service.get("/v1/calls").status_code == 200
    finally:
        other.close()
    assert small_service.finished(small_service.accepted(tmp_path / "locked.wav"))["status"] == "done"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"CALLAUDIT_ASR_MODEL": "./no/such/folder"}, "CALLAUDIT_ASR_MODEL=./no/such/folder"),
        ({"CALLAUDIT_CLASSIFIER": "/no/such/folder"}, "CALLAUDIT_CLASSIFIER=/no/such/folder"),
        ({"CALLAUDIT_DATABASE_URL": "sqlite:////no/such/folder/x.db"}, "CALLAUDIT_DATABASE_URL"),
        ({"CALLAUDIT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "CALLAUDIT_DATABASE_URL"),
        ({"CALLAUDIT_DATA_DIR": "/dev/null"}, "/dev/null"),
        ({"CALLAUDIT_RECORDINGS_URL": "gopher://x"}, "CALLAUDIT_RECORDINGS_URL"),
        ({"CALLAUDIT_CONCURRENCY": "none"}, "CALLAUDIT_CONCURRENCY"),
        ({"CALLAUDIT_TIMESTAMP_ROOTS": "/no/such/roots.pem"}, "CALLAUDIT_TIMESTAMP_ROOTS=/no/such/roots.pem"),
        ({"CALLAUDIT_TIMESTAMP_ROOTS": "README.md"}, "CALLAUDIT_TIMESTAMP_ROOTS=README.md: no certificates"),
    ],
)
def test_service_that_cannot_run_says_so_in_one_line(tmp_path: Path, settings: dict[str, str], words: str) -> None:
    done = run_serve(tmp_path, settings)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_port_in_use_is_told_in_one_line(service: Program, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    done = run_serve(tmp_path, {}, "--port", port)
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_read_only_database_is_told_in_one_line(service: Program, tmp_path: Path) -> None:
    file = service.data_dir / "callaudit.db"
    done = run_serve(tmp_path, {"CALLAUDIT_DATABASE_URL": f"sqlite:///file:{file}?mode=ro&uri=true"})
    assert done.returncode == 2
    assert "readonly" in done.stderr
    assert done.stderr.count("\n") == 1


def test_executor_name_in_use_is_told_in_one_line(service: Program) -> None:
    taken = next((service.data_dir / "executors").iterdir()).name
    done = run_serve(service.data_dir, {"CALLAUDIT_EXECUTOR_ID": taken})
    assert done.returncode == 2
    assert "CALLAUDIT_EXECUTOR_ID" in done.stderr
    assert done.stderr.count("\n") == 1


# Runs in the service and in its decoder; asks for the names and addresses that they look for.
SPY = """
import sys

def spy(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        with open({record!r}, "a") as file:
            print(event, arguments[0] if event == "socket.getaddrinfo" else arguments[1], file=file)

open({record!r}, "a").close()
sys.addaudithook(spy)
"""


def test_service_connects_to_nothing_outside(tmp_path: Path, start_program: Start) -> None:
    spy = tmp_path / "spy"
    spy.mkdir()
    record = tmp_path / "connections"
    (spy / "sitecustomize.py").write_text(SPY.format(record=str(record)))
    program = start_program(tmp_path / "data", settings={"PYTHONPATH": f"{spy}:{os.environ.get('PYTHONPATH', '')}"})
    assert program.finished(program.accepted(DEMO))["status"] == "done"
    program.stop()
    assert record.exists()
    outside = [line for line in record.read_text().splitlines() if "127.0.0.1" not in line]
    assert outside == []


def test_call_goes_through_without_a_network_and_no_library_asks_for_one(tmp_path: Path) -> None:
    command: list[str | Path] = ["unshare", "--map-root-user", "--net", sys.executable, "-m", "tests.netless"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CALLAUDIT_")}
    done = subprocess.run(
        [*command, tmp_path, DEMO], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"status": "done", "attempts": 0, "with one more": 1}


def test_postgresql_takes_the_place_of_sqlite_by_one_setting(
    postgres_database: str, tmp_path: Path, start_program: Start
) -> None:
    program = start_program(tmp_path, settings={"CALLAUDIT_DATABASE_URL": postgres_database})
    call_id = program.accepted(DEMO, metadata='{"collector_id": "c-1", "called_at": "2026-03-01T20:15:00+08:00"}')
    call = program.finished(call_id)
    assert call["status"] == "done", call
    assert Report.model_validate(call["report"]).utterances
    assert call["metadata"]["called_at"] == "2026-03-01T20:15:00+08:00"
    for wanted, count in (({"collector_id": "c-1"}, 1), ({"status": "failed"}, 0), ({"label": call["labels"][0]}, 1)):
        assert len(program.get("/v1/calls", params=wanted).json()["calls"]) == count
    assert program.get("/readyz").status_code == 200
    assert httpx2.delete(f"{program.url}/v1/calls/{call_id}").status_code == 204
    assert count_calls(program) == 0
    assert not list(tmp_path.rglob("*.db"))
    assert program.stop() == 0


def test_recordings_may_lie_in_any_place_that_fsspec_knows(tmp_path: Path, tone: Path, start_program: Start) -> None:
    place = tmp_path / "bucket"
    program = start_program(tmp_path / "data", settings={"CALLAUDIT_RECORDINGS_URL": f"dir::file://{place}"})
    call_id = program.accepted(tone)
    assert program.finished(call_id)["status"] == "done"
    audio = program.get(f"/v1/calls/{call_id}/audio", headers={"range": "bytes=4-9"})
    assert audio.content == tone.read_bytes()[4:10]
    assert [file.name for file in place.rglob("*") if file.is_file()] == [sha256(tone.read_bytes()).hexdigest()]
    assert httpx2.delete(f"{program.url}/v1/calls/{call_id}").status_code == 204
    assert not [file for file in place.rglob("*") if file.is_file()]


def test_uploads_and_deletes_of_one_recording_do_not_lose_it(service: Program, tmp_path: Path) -> None:
    file = tmp_path / "contested.wav"
    write_tone(file, 0.5, 888.0)
    kept: list[str] = []

    def come_and_go() -> None:
        for _ in range(2):
            gone = service.accepted(file)
            kept.append(service.accepted(file))
            assert httpx2.delete(f"{service.url}/v1/calls/{gone}", timeout=60).status_code == 204

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 6
    for call_id in kept:
        assert service.get(f"/v1/calls/{call_id}/audio").content == file.read_bytes()
        assert service.finished(call_id)["status"] == "done"


def expect_problem(answer: httpx2.Response, status: int, words: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert words in problem["detail"], problem


def multipart(content: bytes) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n%s\r\n--b--\r\n' % content


def post_form(program: Program, content: Any) -> httpx2.Response:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    return httpx2.post(f"{program.url}/v1/calls", content=content, headers=headers, timeout=60)


def stored_files(program: Program) -> set[Path]:
    return {file for file in program.data_dir.rglob("recordings/**/*") if file.is_file()}


def two_megabytes(folder: Path) -> Path:
    soundfile.write(folder / "noise.wav", np.random.default_rng(1).uniform(-1, 1, 1_000_000), 8000)
    return folder / "noise.wav"


def count_calls(program: Program) -> int:
    return len(program.get("/v1/calls", params={"limit": 200}).json()["calls"])


def run_serve(data_dir: Path, settings: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "app.cli", "serve", *(arguments or ("--port", "0"))]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CALLAUDIT_")}
    environment |= {"CALLAUDIT_DATA_DIR": str(data_dir), **settings}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300, check=False)
