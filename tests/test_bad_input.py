"""What is no call, or not one that can be taken, at both doors: each gets its message, and nothing is half stored."""

import json
import random
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.report import Report
from tests.conftest import CALLS, Program
from tests.test_cli import callaudit
from tests.test_service import expect_problem, stored_files

RATE = 8_000


@dataclass(frozen=True)
class Refused:
    status: int
    words: str


REFUSED = {
    "empty.wav": Refused(400, "the recording is empty"),
    "zero-length.wav": Refused(400, "the recording is empty"),
    "text.wav": Refused(415, "not a recording in a known format"),
    "image.wav": Refused(415, "not a recording in a known format"),
    "ffconcat.wav": Refused(415, "not a recording in a known format"),
    "random.mp3": Refused(415, "not a recording in a known format"),
    "headless.mp4": Refused(422, "could not be decoded"),
    "three.wav": Refused(422, "has 3 channels"),
    "five.flac": Refused(422, "has 5 channels"),
    "ten-hours.flac": Refused(413, "longer than 10800 s; cut it, or raise CALLAUDIT_MAX_RECORDING_SECONDS"),
}
# Done, and seconds of them that there are; nobody speaks in the first three.
TAKEN = {
    "silence.wav": 20.0,
    "noise.wav": 20.0,
    "music.wav": 20.0,
    "4-khz.wav": 5.0,
    "192-khz.wav": 5.0,
    "truncated.mp3": 9.9,
}
WORDLESS = ("silence.wav", "noise.wav", "music.wav")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bad")
    contents = {
        "empty.wav": b"",
        "text.wav": b"this is no sound, whatever its name says\n" * 50,
        "image.wav": png(),
        "ffconcat.wav": b"ffconcat version 1.0\nfile 'secret.wav'\n",
        "random.mp3": random.Random(1).randbytes(50_000),
        "headless.mp4": b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + random.Random(2).randbytes(5_000),
        "truncated.mp3": (CALLS / "fake-police.mp3").read_bytes()[:30_000],
    }
    for name, content in contents.items():
        (place / name).write_bytes(content)
    generator = np.random.default_rng(3)
    sounds = {
        "zero-length.wav": (np.zeros(0), RATE),
        "three.wav": (np.full((RATE, 3), 0.1), RATE),
        "five.flac": (np.full((RATE, 5), 0.1), RATE),
        "secret.wav": (np.full(RATE, 0.1), RATE),
        "silence.wav": (np.zeros(20 * RATE), RATE),
        "noise.wav": (generator.normal(0, 0.1, 20 * RATE), RATE),
        "music.wav": (waiting_music(20), RATE),
        "4-khz.wav": (generator.normal(0, 0.1, 5 * 4_000), 4_000),
        "192-khz.wav": (generator.normal(0, 0.1, 5 * 192_000), 192_000),
    }
    for name, (sound, rate) in sounds.items():
        soundfile.write(place / name, sound, rate)
    with soundfile.SoundFile(place / "ten-hours.flac", "w", RATE, 1, subtype="PCM_16") as file:
        for _ in range(60):
            file.write(np.zeros(600 * RATE, np.int16))
    return place


@pytest.mark.parametrize("name", REFUSED)
def test_service_refuses_what_is_no_call_and_keeps_nothing(service: Program, folder: Path, name: str) -> None:
    before = stored_files(service), count(service)
    expect_problem(service.upload(folder / name, name), REFUSED[name].status, REFUSED[name].words)
    assert (stored_files(service), count(service)) == before


def test_command_line_names_each_file_that_is_no_call_and_does_the_others(folder: Path) -> None:
    done = callaudit("score", "--json", *(folder / name for name in (*REFUSED, *TAKEN)))
    assert done.returncode == 1
    told = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    assert set(told) == {str(folder / name) for name in REFUSED}
    for name, refused in REFUSED.items():
        assert refused.words in told[str(folder / name)]
    reports = [Report.model_validate_json(line) for line in done.stdout.splitlines()]
    for (name, seconds), report in zip(TAKEN.items(), reports, strict=True):
        check(name, seconds, report)


@pytest.mark.parametrize("name", TAKEN)
def test_service_takes_what_is_odd_but_sound(service: Program, folder: Path, name: str) -> None:
    call = service.finished(service.accepted(folder / name))
    assert call["status"] == "done", call
    check(name, TAKEN[name], Report.model_validate(call["report"]))


def test_what_lies_beside_an_uploaded_playlist_is_not_read(service: Program, folder: Path) -> None:
    (service.data_dir / "recordings" / ".incoming" / "secret.wav").write_bytes((folder / "secret.wav").read_bytes())
    expect_problem(service.upload(folder / "ffconcat.wav"), 415, "format")


def test_words_of_silence_are_never_invented(service: Program, folder: Path) -> None:
    call = service.finished(service.accepted(folder / "silence.wav", metadata=json.dumps({"collector_channel": 0})))
    assert call["report"]["utterances"] == []
    assert call["report"]["summary"]["verdict"] == []
    assert call["labels"] == ["compliant"]


def check(name: str, seconds: float, report: Report) -> None:
    assert report.recording.duration == pytest.approx(seconds, abs=0.5)
    assert name not in WORDLESS or report.utterances == ()


def count(program: Program) -> int:
    return len(program.get("/v1/calls", params={"limit": 200}).json()["calls"])


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


def waiting_music(seconds: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Broken chords over a beat, as a switchboard plays."""
    time_s = np.arange(seconds * RATE) / RATE
    notes = 220 * 2 ** (np.array([0, 4, 7, 12, 9, 7, 4, 2]) / 12)
    pitch = notes[(time_s * 4).astype(int) % len(notes)]
    tone = sum(np.sin(2 * np.pi * k * pitch * time_s) / k for k in (1, 2, 3))
    return 0.15 * tone * np.exp(-3 * (time_s * 4 % 1))
