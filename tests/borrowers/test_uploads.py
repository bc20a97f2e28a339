"""Files from strangers: in pieces or whole, broken off, too large, too many, no recordings at all."""

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.borrowers.conftest import MadeCase, Site, Visitor, open_site
from tests.conftest import CALLS, Start

PIECE = {"content-type": "application/offset+octet-stream", "tus-resumable": "1.0.0"}


def begin(visitor: Visitor, size: int) -> httpx2.Response:
    return visitor.client.post("/uploads", headers={"upload-length": str(size), "tus-resumable": "1.0.0"})


def piece(visitor: Visitor, address: str, content: bytes, offset: int) -> httpx2.Response:
    return visitor.client.patch(address, content=content, headers={**PIECE, "upload-offset": str(offset)})


def offset_of(visitor: Visitor, address: str) -> int:
    return int(visitor.client.head(address).headers["upload-offset"])


def hand_in(visitor: Visitor, address: str, once: str = "") -> httpx2.Response:
    return visitor.post("/cases", once=once or visitor.once(), upload=address.rpartition("/")[2])


def test_upload_goes_on_where_the_connection_broke(site: Site) -> None:
    content = site.sound(30).read_bytes()
    visitor = site.visitor()
    address = begin(visitor, len(content)).headers["location"]
    assert piece(visitor, address, content[:100_000], 0).status_code == 204
    server = urlsplit(site.url)
    with socket.create_connection((server.hostname or "", server.port or 0)) as line:
        head = (
            f"PATCH {address} HTTP/1.1\r\nhost: {server.netloc}\r\ncontent-length: 300000\r\nupload-offset: 100000\r\n"
        )
        line.sendall(f"{head}content-type: application/offset+octet-stream\r\n\r\n".encode() + content[100_000:150_000])
        time.sleep(0.5)  # what lies unread when the line breaks, the server never sees
    deadline = time.monotonic() + 10
    while offset_of(visitor, address) == 100_000 and time.monotonic() < deadline:
        time.sleep(0.1)
    came = offset_of(visitor, address)
    assert 100_000 < came <= 150_000
    wrong = piece(visitor, address, content[200_000:], 200_000)
    assert wrong.status_code == 409
    assert wrong.headers["upload-offset"] == str(came)
    assert piece(visitor, address, content[came:], came).headers["upload-offset"] == str(len(content))
    answer = hand_in(visitor, address)
    assert answer.status_code == 303
    (stored,) = site.recordings(MadeCase(visitor, answer.headers["location"], ""))
    assert stored.recording_sha256 == hashlib.sha256(content).hexdigest()


def test_finished_upload_handed_in_twice_is_one_recording(site: Site) -> None:
    content, visitor = site.sound().read_bytes(), site.visitor()
    address, once = begin(visitor, len(content)).headers["location"], visitor.once()
    piece(visitor, address, content, 0)
    first, second = hand_in(visitor, address, once), hand_in(visitor, address, once)
    assert first.headers["location"] == second.headers["location"]
    assert len(site.recordings(MadeCase(visitor, first.headers["location"], ""))) == 1


def test_unfinished_upload_is_no_recording_yet(site: Site) -> None:
    content, visitor = site.sound().read_bytes(), site.visitor()
    address = begin(visitor, len(content)).headers["location"]
    piece(visitor, address, content[:1000], 0)
    answer = hand_in(visitor, address)
    assert answer.status_code == 409
    assert "接着传" in answer.text
    assert offset_of(visitor, address) == 1000


def test_upload_takes_no_more_than_it_promised(site: Site) -> None:
    visitor = site.visitor()
    address = begin(visitor, 10).headers["location"]
    assert piece(visitor, address, b"x" * 11, 0).status_code == 413
    assert visitor.client.delete(address).status_code == 204
    assert visitor.client.head(address).status_code == 404


def test_upload_of_another_cannot_be_guessed(site: Site) -> None:
    visitor = site.visitor()
    begin(visitor, 10)
    for name in ("*", "..", "%2e%2e", "A" * 43):
        assert visitor.client.head(f"/uploads/{name}").status_code in (404, 405)


@pytest.mark.parametrize("content", [b"<html>no sound</html>" * 50, b"RIFF\x00\x00\x00\x00WAVEbroken"])
def test_what_is_no_recording_is_told_at_once(site: Site, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(content)
    visitor = site.visitor()
    answer = visitor.send(file)
    assert answer.status_code in (415, 422)
    assert "<h1>" in answer.text
    visitor.get("/language/en")
    assert "recording" in visitor.send(file).text


@pytest.mark.parametrize("content", [b"", None])
def test_form_without_a_recording_is_told(site: Site, tmp_path: Path, content: bytes | None) -> None:
    visitor = site.visitor()
    if content is None:
        answer = visitor.post("/cases", once=visitor.once())
    else:
        (tmp_path / "a.wav").write_bytes(content)
        answer = visitor.send(tmp_path / "a.wav")
    assert answer.status_code in (400, 422)
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    "name", ["mother-callback.amr", "fake-police.mp3", "instalment-plan.wav", "late-first-job.ogg"]
)
def test_formats_of_phones_are_taken(site: Site, name: str) -> None:
    assert site.visitor().send(CALLS / name).status_code == 303


@pytest.mark.parametrize(
    ("written", "shown"),
    [("2026-03-05", "2026-03-05"), ("2026/3/5", "2026-03-05"), ("2026年3月5日", "2026-03-05")],
)
def test_dates_are_read_as_people_write_them(site: Site, written: str, shown: str) -> None:
    made = site.case(called_on=written)
    assert site.recordings(made)[0].told.called_on == shown


def test_recording_is_kept_though_its_date_is_not_understood(site: Site) -> None:
    visitor = site.visitor()
    answer = visitor.send(site.sound(), called_on="last Tuesday", lender="长" * 1500)
    assert answer.status_code == 303
    page = visitor.get(answer.headers["location"])
    assert "没有看懂或太长" in page.text
    (stored,) = site.recordings(MadeCase(visitor, answer.headers["location"].partition("?")[0], ""))
    assert (stored.told.called_on, len(stored.told.lender)) == ("", 1000)


@pytest.fixture(scope="module")
def narrow(start_program: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = {
        "CALLAUDIT_BORROWER_UPLOADS_PER_HOUR": "3",
        "CALLAUDIT_BORROWER_UPLOAD_BYTES": "100000",
        "CALLAUDIT_THREADS": "1",
    }
    folder = tmp_path_factory.mktemp("narrow")
    program = start_program(folder / "data", "serve", "--port", "0", "--no-worker", settings=settings)
    yield from open_site(program, folder)


def test_strangers_bring_neither_too_large_nor_too_many_files(narrow: Site) -> None:
    visitor, large = narrow.visitor(), narrow.sound(60)
    for answer in (visitor.send(large), begin(visitor, large.stat().st_size)):
        assert answer.status_code == 413
        assert "文件太大" in answer.text
    once = visitor.once()
    first = visitor.send(narrow.sound(), once)
    assert [first.status_code, visitor.send(narrow.sound(), once).status_code] == [303, 303]
    assert begin(visitor, 1000).status_code == 201
    for answer in (begin(visitor, 1000), visitor.send(narrow.sound())):
        assert answer.status_code == 429
        assert "retry-after" in answer.headers
        assert "分钟" in answer.text
    assert visitor.get(first.headers["location"]).status_code == 200  # what was received is still there
