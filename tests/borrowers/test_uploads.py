"""Files from strangers: in pieces or whole, broken off, too large, too many, no recordings at all."""

import hashlib
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.borrowers.conftest import MadeCase, Site, Visitor, open_site
from tests.conftest import CALLS, Start
from tests.lenders.conftest import Said
from tests.test_decode import as_silk, tones

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


def test_form_that_names_an_upload_in_the_making_waits_some_seconds_only(site: Site) -> None:
    content, visitor = site.sound().read_bytes(), site.visitor()
    address, server = begin(visitor, len(content)).headers["location"], urlsplit(site.url)
    with socket.create_connection((server.hostname or "", server.port or 0)) as line:
        head = f"PATCH {address} HTTP/1.1\r\nhost: {server.netloc}\r\ncontent-length: 1000\r\nupload-offset: 0\r\n"
        line.sendall(f"{head}content-type: application/offset+octet-stream\r\n\r\n".encode() + content[:500])
        time.sleep(0.5)
        answer = hand_in(visitor, address)
    assert answer.status_code == 423
    assert "另一个页面正在传" in answer.text


@pytest.fixture(scope="module")
def hasty(start_program: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("hasty")
    settings = {
        "CALLAUDIT_REQUEST_WITHIN_SECONDS": "2",
        "CALLAUDIT_BORROWER_UPLOAD_BYTES": "1000",
        "CALLAUDIT_BORROWER_UPLOADS_PER_HOUR": "1000",
        "CALLAUDIT_THREADS": "1",
    }
    program = start_program(folder / "data", "serve", "--port", "0", "--no-worker", settings=settings)
    yield from open_site(program, folder)


def test_phone_whose_line_fell_silent_goes_on_by_another(hasty: Site) -> None:
    content, visitor = hasty.sound(0.05).read_bytes()[:800], hasty.visitor()
    address, server = begin(visitor, len(content)).headers["location"], urlsplit(hasty.url)
    with socket.create_connection((server.hostname or "", server.port or 0)) as line:
        head = f"PATCH {address} HTTP/1.1\r\nhost: {server.netloc}\r\ncontent-length: 800\r\nupload-offset: 0\r\n"
        line.sendall(f"{head}content-type: application/offset+octet-stream\r\n\r\n".encode() + content[:500])
        line.settimeout(10)
        assert line.recv(100).startswith(b"HTTP/1.1 408")
        assert offset_of(visitor, address) == 500
        assert piece(visitor, address, content[500:], 500).status_code == 204


def test_uploads_that_nobody_goes_on_with_hold_no_room(hasty: Site) -> None:
    visitor, folder = hasty.visitor(), hasty.program.data_dir / "recordings" / ".incoming"
    while (answer := begin(visitor, 1000)).status_code == 201:
        pass
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "600")
    an_hour_ago = time.time() - 3600
    for file in folder.glob("upload-*"):
        os.utime(file, (an_hour_ago, an_hour_ago))
    assert begin(visitor, 1000).status_code == 201


def test_upload_takes_no_more_than_it_promised(site: Site) -> None:
    visitor = site.visitor()
    address = begin(visitor, 10).headers["location"]
    assert piece(visitor, address, b"x" * 11, 0).status_code == 413
    assert visitor.client.delete(address).status_code == 204
    assert visitor.client.head(address).status_code == 404


def test_upload_that_is_being_encrypted_is_in_nobodys_way(site: Site) -> None:
    visitor = site.visitor()
    being_locked = site.program.data_dir / "recordings" / ".incoming" / f"upload-{'a' * 64}-1000.locked"
    being_locked.write_bytes(b"half")
    answer = begin(visitor, 10)
    being_locked.unlink()
    assert answer.status_code == 201, answer.text


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


def test_voice_message_of_wechat_is_taken(site: Site, tmp_path: Path) -> None:
    (tmp_path / "msg_1.aud").write_bytes(as_silk(tones(24_000, 440), tencent=True))
    assert site.visitor().send(tmp_path / "msg_1.aud").status_code == 303


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


@pytest.mark.parametrize("written", ["2062-03-05", "9999-12-31", "0001-01-01"])
def test_date_on_which_nobody_called_is_not_believed(site: Site, written: str) -> None:
    visitor = site.visitor()
    answer = visitor.send(site.sound(), called_on=written, called_time="03:00", file_time=f"{written}T03:00")
    assert answer.status_code == 303
    assert "没有看懂或太长" in visitor.get(answer.headers["location"]).text
    (stored,) = site.recordings(MadeCase(visitor, answer.headers["location"].partition("?")[0], ""))
    assert (stored.told.called_on, stored.told.file_time) == ("", "")


# As a phone's browser sends what its recorder shares: no page of ours comes before it, and no cookie.
SHARED = {
    "origin": "null",
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "sec-fetch-user": "?1",
}


def shared(visitor: Visitor, *contents: bytes, **headers: str) -> httpx2.Response:
    files = [("file", (f"录音 {n}.m4a", content, "audio/mp4")) for n, content in enumerate(contents)]
    return visitor.client.post("/share", files=files, headers=SHARED | headers)


def test_phone_shares_a_recording_as_if_it_were_uploaded(site: Site) -> None:
    visitor, content = site.visitor(), site.sound().read_bytes()
    answer = shared(visitor, content)
    assert answer.status_code == 303
    page = visitor.get(answer.headers["location"])
    assert re.search(r'class="digits">\d{4} \d{4}<', page.text)
    (stored,) = site.recordings(MadeCase(visitor, answer.headers["location"], ""))
    assert stored.recording_sha256 == hashlib.sha256(content).hexdigest()


def test_recordings_that_are_shared_together_are_one_case_or_none(site: Site) -> None:
    visitor, sounds = site.visitor(), [site.sound().read_bytes() for _ in range(2)]
    answer = shared(visitor, *sounds)
    assert len(site.recordings(MadeCase(visitor, answer.headers["location"], ""))) == 2
    for wrong, status in ((b"no sound at all" * 100, 415), (b"", 400)):
        refused = shared(visitor, sounds[0], wrong)
        assert (refused.status_code, "set-cookie" in refused.headers) == (status, False)
        assert "<h1>" in refused.text
    assert shared(visitor).status_code == 422
    assert visitor.get("/share").headers["location"] == "/"


def test_share_reads_no_cookie_and_touches_no_case_that_is_there(site: Site) -> None:
    made = site.case()
    fields = {"once": "x" * 43, "upload": "A" * 43, "action": made.path}
    files = {"file": ("a.wav", site.sound().read_bytes())}
    answer = made.visitor.client.post("/share", data=fields, files=files, headers=SHARED)
    assert answer.headers["location"] != made.path
    assert len(site.recordings(made)) == 1


@pytest.mark.parametrize("hidden", [{"sec-fetch-mode": "no-cors"}, {"sec-fetch-dest": "iframe"}])
def test_page_elsewhere_shares_nothing_behind_a_visitors_back(site: Site, hidden: dict[str, str]) -> None:
    answer = shared(site.visitor(), site.sound().read_bytes(), **hidden)
    assert answer.status_code == 403
    assert "别的网站" in answer.text


@pytest.mark.parametrize(("language", "name"), [("zh", "催收录音取证"), ("en", "Collection call evidence")])
def test_manifest_offers_the_share_and_icons_that_are_there(site: Site, language: str, name: str) -> None:
    visitor = site.visitor()
    visitor.get(f"/language/{language}")
    assert f'<link rel="manifest" href="/{language}.webmanifest">' in visitor.get("/").text
    answer = visitor.get(f"/{language}.webmanifest")
    assert answer.headers["content-type"] == "application/manifest+json"
    manifest = answer.json()
    assert manifest["name"] == name
    (files,) = manifest["share_target"]["params"]["files"]
    assert files["name"] == "file"
    for icon in manifest["icons"]:
        picture = visitor.get(icon["src"])
        assert picture.headers["content-type"] == icon["type"]
        if icon["type"] == "image/png":
            assert icon["sizes"] == "{}x{}".format(*struct.unpack(">II", picture.content[16:24]))


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
    for answer in (visitor.send(large), begin(visitor, large.stat().st_size), shared(visitor, large.read_bytes())):
        assert answer.status_code == 413
        assert "文件太大" in answer.text
    once = visitor.once()
    first = visitor.send(narrow.sound(), once)
    assert [first.status_code, visitor.send(narrow.sound(), once).status_code] == [303, 303]
    assert begin(visitor, 1000).status_code == 201
    sound = narrow.sound().read_bytes()
    for answer in (begin(visitor, 1000), visitor.send(narrow.sound()), shared(visitor, sound)):
        assert answer.status_code == 429
        assert "retry-after" in answer.headers
        assert "分钟" in answer.text
    assert visitor.get(first.headers["location"]).status_code == 200  # what was received is still there


@pytest.fixture(scope="module")
def full(start_program: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("full")
    settings = {"CALLAUDIT_MAX_QUEUED_CALLS": "1", "CALLAUDIT_THREADS": "1"}
    program = start_program(folder / "data", "serve", "--port", "0", "--no-worker", settings=settings)
    yield from open_site(program, folder)


def test_full_queue_takes_nothing_more_from_strangers(full: Site) -> None:
    made, visitor, sound = full.case(), full.visitor(), full.sound(60)
    before = full.files()
    content = sound.read_bytes()
    for answer in (
        visitor.send(sound),
        full.add(made),
        shared(visitor, content),
        begin(visitor, len(content)),
        visitor.post("/cases", once=visitor.once(), upload="A" * 43),
    ):
        assert answer.status_code == 503
        assert "现在有点忙" in answer.text
        assert int(answer.headers["retry-after"]) > 0
    assert full.files() == before
    full.finish(made, Said("您好"))
    assert full.add(made).status_code == 303
