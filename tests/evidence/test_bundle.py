"""What a bundle holds, and that it is the same each time."""

import io
import json
import re
import time
import wave
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import soundfile

from models.call import Label, Speaker
from models.errors import CallError, UnreadableFile
from pipelines.decode import decode
from pipelines.evidence.bundle import NO_FONT, bundle
from pipelines.evidence.errors import EvidenceError, OtherRecording
from pipelines.evidence.exhibit import Correction, Stated
from pipelines.evidence.manifest import Manifest
from pipelines.evidence.signature import fingerprint, signed_by
from pipelines.evidence.transcript import as_srt, as_text
from pipelines.report import Report
from tests.conftest import write_tone
from tests.evidence.conftest import CORRECTION, CUSTODY, HEARD_AT, SAID, Maker, no_font, report_on


@pytest.fixture(scope="module")
def held(bundled: Path) -> dict[str, bytes]:
    with ZipFile(bundled) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_everything_is_in_it_in_order_and_nothing_else(held: dict[str, bytes]) -> None:
    assert list(held) == sorted(held)
    assert set(held) == {
        "README.txt",
        "SHA256SUMS",
        "clips/0001-threat.wav",
        "clips/0003-third_party_contact.wav",
        "corrections.json",
        "custody.json",
        "manifest.json",
        "manifest.sig",
        "recording.wav",
        "report.html",
        "report.json",
        "stated.json",
        "transcript.srt",
        "transcript.txt",
    }


def test_recording_is_byte_for_byte_as_received_and_the_report_is_about_it(
    held: dict[str, bytes], maker: Maker
) -> None:
    assert held["recording.wav"] == maker.recording.read_bytes()
    assert Report.model_validate_json(held["report.json"]) == maker.report
    assert maker.report.recording.sha256 == sha256(held["recording.wav"]).hexdigest()


def test_manifest_lists_every_other_file_with_hash_and_size_and_is_signed(held: dict[str, bytes], maker: Maker) -> None:
    manifest = Manifest.model_validate_json(held["manifest.json"])
    listed = {part.name: (part.bytes, part.sha256) for part in manifest.files}
    expected = {name: (len(content), sha256(content).hexdigest()) for name, content in held.items()}
    del expected["manifest.json"], expected["manifest.sig"]
    assert listed == expected
    assert manifest.key_sha256 == fingerprint(maker.public_key)
    assert signed_by(maker.public_key, held["manifest.sig"], held["manifest.json"])
    assert (manifest.recording, manifest.printed.file, manifest.printed.why_no_pdf) == (
        "recording.wav",
        "report.html",
        NO_FONT,
    )


def test_same_input_gives_the_same_bytes_later_and_elsewhere(
    maker: Maker, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time.sleep(2.1)  # a ZIP file counts in steps of two seconds
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    again = maker(tmp_path / "other-name.zip")
    monkeypatch.undo()
    time.tzset()
    assert again.read_bytes() == bundled.read_bytes()


def test_clip_has_two_seconds_around_the_utterance_but_no_more_than_there_is(held: dict[str, bytes]) -> None:
    for name, start, end in (
        ("clips/0001-threat.wav", 0.5, 5.5),
        ("clips/0003-third_party_contact.wav", 4.0, 9.0),
    ):
        with wave.open(io.BytesIO(held[name])) as clip:
            assert clip.getframerate() == 16_000
            assert clip.getnframes() == round((end - start) * 16_000)


def test_clip_is_the_sound_of_its_time_on_every_channel(maker: Maker, tmp_path: Path) -> None:
    time_s = np.arange(10 * 8000) / 8000
    left, right = 0.3 * np.sin(2 * np.pi * 300 * time_s), 0.3 * np.sin(2 * np.pi * 500 * time_s)
    left[: 5 * 8000] = 0
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([left, right], axis=1), 8000)
    report = report_on(path, [(5.0, Speaker.COLLECTOR, "打断你的腿", (Label.THREAT,))])
    made = bundle(path, report, CUSTODY, maker.key, tmp_path / "two.zip", find_font=no_font)
    with ZipFile(made.path) as file:
        sound, rate = soundfile.read(io.BytesIO(file.read("clips/0000-threat.wav")))
    assert (sound.shape, rate) == ((5 * 16_000, 2), 16_000)
    assert np.abs(sound[: int(1.9 * rate), 0]).max() < 0.01 < np.abs(sound[int(2.1 * rate) :, 0]).max()
    assert np.abs(sound[: int(1.9 * rate), 1]).max() > 0.25


def test_corrections_stand_beside_the_machines_words_and_not_in_their_place(held: dict[str, bytes]) -> None:
    assert [Correction.model_validate(c) for c in json.loads(held["corrections.json"])] == [CORRECTION]
    lines = held["transcript.txt"].decode().splitlines()
    at = next(i for i, line in enumerate(lines) if "打断你的腿" in line)
    assert "打断你的手" in lines[at + 1]
    assert "corrected (borrower" in lines[at + 1]
    page = held["report.html"].decode()
    assert "打断你的腿" in page
    assert "打断你的手" in page


def test_custody_log_is_told_as_it_was_given(held: dict[str, bytes]) -> None:
    assert json.loads(held["custody.json"]) == [event.model_dump(mode="json") for event in CUSTODY]


def test_nobodys_words_pass_for_another_line_of_the_transcript(maker: Maker, tmp_path: Path) -> None:
    hostile = "好的\n\n99\n00:00:00,000 --> 00:00:09,000\n[0:00:09.0 - 0:00:09.5] 催收方\u202e\x00"
    report = report_on(maker.recording, [(0.5, Speaker.BORROWER, hostile, ())])
    assert len(re.findall(r"^\d+$", as_srt(report), re.MULTILINE)) == 1
    assert sum(line.startswith("[") for line in as_text(report).splitlines()) == 1
    assert not set("\u202e\x00") & set(as_text(report) + as_srt(report))


@pytest.mark.parametrize(
    ("file_name", "entry"),
    [
        ("微信语音.SILK", "recording.silk"),
        ("../../etc/passwd", "recording.bin"),
        ("call.m4a/../x", "recording.bin"),
        ("a.b c", "recording.bin"),
        ("call.ａmr", "recording.bin"),
    ],
)
def test_sender_names_the_kind_of_file_and_no_path(maker: Maker, tmp_path: Path, file_name: str, entry: str) -> None:
    made = maker(tmp_path / "named.zip", stated=Stated(file_name=file_name))
    with ZipFile(made) as file:
        assert [name for name in file.namelist() if name.startswith("recording")] == [entry]


def test_report_of_another_recording_is_refused_and_nothing_is_written(maker: Maker, tmp_path: Path) -> None:
    other = tmp_path / "other.wav"
    write_tone(other, 9.0, pitch=300)
    out = tmp_path / "out.zip"
    with pytest.raises(OtherRecording, match=maker.report.recording.sha256):
        bundle(other, maker.report, CUSTODY, maker.key, out, find_font=no_font)
    assert list(tmp_path.iterdir()) == [other]


def test_recording_that_changes_while_it_is_bundled_is_noticed(maker: Maker, tmp_path: Path) -> None:
    """Whoever stamps is the last to act before the ZIP is written."""
    recording = tmp_path / "call.wav"
    recording.write_bytes(maker.recording.read_bytes())
    report = report_on(recording)

    def changed(_: bytes) -> bytes:
        content = bytearray(recording.read_bytes())
        content[5000] ^= 1
        recording.write_bytes(content)
        return b"a token"

    with pytest.raises(OtherRecording):
        bundle(recording, report, CUSTODY, maker.key, tmp_path / "out.zip", stamp=changed, find_font=no_font)
    assert list(tmp_path.iterdir()) == [recording]


def test_correction_of_no_utterance_is_named(maker: Maker, tmp_path: Path) -> None:
    wrong = Correction(utterance=len(SAID), text="x", by="borrower", at=HEARD_AT)
    with pytest.raises(EvidenceError, match=f"utterance {len(SAID)}"):
        bundle(maker.recording, maker.report, CUSTODY, maker.key, tmp_path / "o.zip", corrections=[wrong])


def test_missing_recording_is_named(maker: Maker, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"gone\.wav"):
        bundle(tmp_path / "gone.wav", maker.report, CUSTODY, maker.key, tmp_path / "out.zip")
    assert issubclass(UnreadableFile, CallError)


def test_nobody_speaks_and_there_is_a_bundle_all_the_same(maker: Maker, tmp_path: Path) -> None:
    with decode(maker.recording) as recording:
        report = Report.of(recording, (), ())
    made = bundle(maker.recording, report, (), maker.key, tmp_path / "silent.zip", find_font=no_font)
    with ZipFile(made.path) as file:
        assert not [name for name in file.namelist() if name.startswith("clips/")]
