import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from app.config import CannotStart
from app.train_asr import fine_tune_asr
from models.transcriber import Transcriber
from pipelines.decode import decode
from pipelines.training.export_transcriber import _tokenizer, convert, layout, main
from pipelines.training.fine_tune_transcriber import CannotTrain, FineTuning, fine_tune
from pipelines.training.manifest import BadManifest, cut, read_manifest
from pipelines.training.new_folder import OutTaken, written_whole

TEXTS = ("您好", "请还款", "我没钱", "再见")
ONE_STEP_AT_A_TIME = FineTuning(epochs=2, batch_size=2, accumulate=1, learning_rate=1e-2, checkpoint_every=1)


class Killed(Exception):
    """What stands for a kill: nothing after it runs."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of the smallest size with random weights, in transformers' layout."""
    folder = tmp_path_factory.mktemp("base")
    entries = layout(sorted(set("".join(TEXTS))))
    place = {entry: index for index, entry in enumerate(entries)}
    end, start = place["<|endoftext|>"], place["<|startoftranscript|>"]
    config = WhisperConfig(
        vocab_size=len(entries), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=80, pad_token_id=end,
        bos_token_id=start, eos_token_id=end, decoder_start_token_id=start,
    )  # fmt: skip
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        suppress_tokens=[], begin_suppress_tokens=[end], alignment_heads=[[0, 0]],
        lang_to_id={"<|en|>": place["<|en|>"], "<|zh|>": place["<|zh|>"]},
    )  # fmt: skip
    model.save_pretrained(folder)
    _tokenizer(entries).save_pretrained(folder)
    return folder


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / "call.wav", 0.1 * random.standard_normal(4 * 16_000), 16_000)
    lines = [
        json.dumps({"audio": "call.wav", "text": text, "start": float(at), "end": at + 1.0}, ensure_ascii=False)
        for at, text in enumerate(TEXTS)
    ]
    file = tmp_path / "manifest.jsonl"
    file.write_text("\n".join(lines) + "\n", "utf8")
    return file


def test_a_fine_tuned_model_loads_and_has_learned(base: Path, manifest: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    options = FineTuning(epochs=8, batch_size=2, accumulate=1, learning_rate=1e-2, held_out_share=0.25)
    card = fine_tune(str(base), manifest, tmp_path / "out", options, lambda what, _: heard.append(what))
    assert (card.clips, card.steps) == (4, 16)
    losses = [float(what.split()[-1]) for what in heard if "loss" in what]
    assert losses[-1] < losses[0]
    assert json.loads((tmp_path / "out" / "card.json").read_text("utf8"))["base"] == str(base)
    assert not (tmp_path / "out.work").exists()
    transcriber = Transcriber(str(tmp_path / "out"))
    assert transcriber.weights.version == card.version
    with decode(manifest.with_name("call.wav")) as recording:
        assert all(segment.words for segment in transcriber(recording.channels[0]))
    assert len(transcriber.again([np.zeros(16_000, np.float32)])) == 1


def test_what_somebody_else_keeps_in_the_work_folder_stays(base: Path, manifest: Path, tmp_path: Path) -> None:
    work = tmp_path / "out.work"
    work.mkdir()
    (work / "notes.txt").write_text("mine", "utf8")
    fine_tune(str(base), manifest, tmp_path / "out", FineTuning(epochs=1, batch_size=2, accumulate=1))
    assert [file.name for file in work.iterdir()] == ["notes.txt"]


def test_half_precision_is_computed_in_int8_on_a_cpu_unless_told_otherwise(
    base: Path, manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fine_tune(str(base), manifest, out, replace(ONE_STEP_AT_A_TIME, quantization="float16"))
    assert Transcriber(str(out), "cpu").compute_type.startswith("int8")
    assert Transcriber(str(out), "cpu", "float32").compute_type == "float32"


def test_a_killed_training_goes_on_and_ends_as_one_that_was_not(base: Path, manifest: Path, tmp_path: Path) -> None:
    whole = fine_tune(str(base), manifest, tmp_path / "whole", ONE_STEP_AT_A_TIME)

    def kill_in_the_third_step(what: str, _: float) -> None:
        if what.startswith("step 3 "):
            raise Killed

    with pytest.raises(Killed):
        fine_tune(str(base), manifest, tmp_path / "parted", ONE_STEP_AT_A_TIME, kill_in_the_third_step)
    steps: list[str] = []
    parted = fine_tune(str(base), manifest, tmp_path / "parted", ONE_STEP_AT_A_TIME, lambda what, _: steps.append(what))
    assert next(what for what in steps if what.startswith("step")).startswith("step 3 ")
    assert parted == whole
    assert (tmp_path / "parted" / "model.bin").read_bytes() == (tmp_path / "whole" / "model.bin").read_bytes()


def test_clips_are_cut_where_the_manifest_says(manifest: Path, tmp_path: Path) -> None:
    clips = cut(manifest, tmp_path / "work")
    sound, _ = soundfile.read(manifest.with_name("call.wav"), dtype="float32")
    assert len(clips) == 4
    assert clips.seconds == pytest.approx(4.0)
    for index, text in enumerate(clips.texts):
        at = TEXTS.index(text) * 16_000
        assert clips.samples(index) == pytest.approx(sound[at : at + 16_000], abs=1e-3)
    assert cut(manifest, tmp_path / "work").sha256 == clips.sha256


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "line 1: the line"),
        ('{"audio": "a.wav"}', "line 1: text: Field required"),
        ('{"audio": "a.wav", "text": "喂", "start": 3, "end": 2}', "'end' must lie after 'start'"),
        ("", "has no lines"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "manifest.jsonl").write_text(line + "\n", "utf8")
    with pytest.raises(BadManifest, match=why):
        read_manifest(tmp_path / "manifest.jsonl")


def test_a_recording_that_is_missing_or_too_long_is_named(tmp_path: Path) -> None:
    file = tmp_path / "manifest.jsonl"
    file.write_text('{"audio": "gone.wav", "text": "喂"}\n', "utf8")
    with pytest.raises(BadManifest, match=r"gone\.wav"):
        cut(file, tmp_path / "work")
    soundfile.write(tmp_path / "long.wav", np.full(31 * 8_000, 0.1), 8_000)
    file.write_text('{"audio": "long.wav", "text": "喂"}\n', "utf8")
    with pytest.raises(BadManifest, match=r"31\.0 s long; give clips of up to 30 s"):
        cut(file, tmp_path / "work")


def test_a_base_that_is_none_is_refused(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CannotTrain, match="transformers cannot load it"):
        fine_tune(str(tmp_path / "empty"), manifest, tmp_path / "out")


def test_a_folder_that_holds_something_is_never_written_over(base: Path, manifest: Path) -> None:
    kept = {file.name: file.read_bytes() for file in manifest.parent.iterdir() if file.is_file()}
    with pytest.raises(CannotStart, match="exists and is not an empty folder"):
        fine_tune_asr(str(base), manifest, manifest.parent, {})
    whisper = WhisperForConditionalGeneration.from_pretrained(base)
    entries = layout(sorted(set("".join(TEXTS))))
    with pytest.raises(OutTaken):
        convert(whisper, entries, range(4), manifest.parent)
    assert {file.name: file.read_bytes() for file in manifest.parent.iterdir() if file.is_file()} == kept
    assert not manifest.parent.with_name(manifest.parent.name + ".work").exists()


def test_the_export_command_refuses_a_folder_that_holds_something(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--vocabulary", "x", "--weights", "y", "--out", str(manifest.parent)]
    monkeypatch.setattr(sys, "argv", ["export_transcriber", *options])
    with pytest.raises(SystemExit):
        main()
    assert "exists and is not an empty folder" in capsys.readouterr().err
    assert manifest.is_file()


def test_a_folder_that_is_not_finished_does_not_appear(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"

    def write_half() -> None:
        with written_whole(out) as folder:
            folder.mkdir()
            (folder / "model.bin").touch()
            raise Killed

    with pytest.raises(Killed):
        write_half()
    assert list(out.parent.iterdir()) == []
    out.mkdir()
    with written_whole(out) as folder:
        folder.mkdir()
        (folder / "model.bin").touch()
        assert list(out.iterdir()) == []
    assert [file.name for file in out.iterdir()] == ["model.bin"]
    assert list(out.parent.iterdir()) == [out]


def test_a_manifest_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "manifest.jsonl"
    file.write_bytes(b"\n" + '{"audio": "a.wav", "text": "请还款"}\n'.encode("gb18030"))
    with pytest.raises(BadManifest, match="line 2: not UTF-8"):
        read_manifest(file)


def test_an_index_never_stands_beside_the_sound_of_another_manifest(manifest: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    first = manifest.read_text("utf8")
    clips = cut(manifest, work)
    heard = clips.samples(0)
    other = json.loads(first.splitlines()[3])
    gone = {**other, "audio": "z-gone.wav"}
    manifest.write_text("".join(json.dumps(row) + "\n" for row in (other, gone)), "utf8")
    with pytest.raises(BadManifest, match=r"z-gone\.wav"):
        cut(manifest, work)
    manifest.write_text(first, "utf8")
    assert cut(manifest, work).samples(0) == pytest.approx(heard)
    assert sorted(file.name for file in work.iterdir()) == ["clips.json", "clips.pcm"]
