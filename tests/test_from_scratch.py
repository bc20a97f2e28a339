"""A recogniser from texts alone: every stage, little of each, to a folder that is served."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.config import CannotStart
from app.train_asr import train_asr_from_scratch
from models.transcriber import Transcriber
from pipelines.training.from_scratch import Effort, OtherWork, train_from_scratch
from pipelines.training.new_folder import OutTaken
from pipelines.training.recogniser import Vocabulary
from pipelines.training.transcriber import Training, main, train
from tests.conftest import needs_debian

_TEXTS = ["您好，请问是张先生吗？", "今天能还多少？", "我下周发工资。", "您的账单已经逾期了。", "好的，谢谢。"]
_LITTLE = Effort(shards=1, utterances=40, encoder_minutes=0.03, decoder_minutes=0.03, windows_minutes=0.03)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_debian("espeak-ng")
    folder = tmp_path_factory.mktemp("scratch")
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text, "split": "train"}) + "\n" for text in _TEXTS), "utf8")
    train_from_scratch([texts], folder / "own", _LITTLE)
    return folder


def test_what_was_trained_from_nothing_is_served(trained: Path) -> None:
    transcriber = Transcriber(str(trained / "own"), device="cpu")
    (text,) = transcriber.again([np.zeros(32_000, np.float32)])
    assert isinstance(text, str)
    assert (
        Vocabulary.load(trained / "own").characters == Vocabulary.load(trained / "own.work/vocabulary.json").characters
    )


def test_a_stage_that_is_done_is_not_done_again(trained: Path) -> None:
    work = trained / "own.work"
    before = {file.name: file.stat().st_mtime_ns for file in work.glob("*.pt")}
    assert set(before) == {"encoder.pt", "decoder.pt", "windows.pt"}
    shutil.rmtree(trained / "own")
    train_from_scratch([trained / "texts.jsonl"], trained / "own", replace(_LITTLE, threads=1))
    assert {file.name: file.stat().st_mtime_ns for file in work.glob("*.pt")} == before


def test_a_finished_folder_is_not_written_over(trained: Path) -> None:
    with pytest.raises(OutTaken, match="exists and is not an empty folder"):
        train_from_scratch([trained / "texts.jsonl"], trained / "own", _LITTLE)


@pytest.mark.parametrize("other", [replace(_LITTLE, seed=1), replace(_LITTLE, windows_minutes=1), None])
def test_work_of_another_training_is_refused(trained: Path, tmp_path: Path, other: Effort | None) -> None:
    out = tmp_path / "own"
    (tmp_path / "own.work").mkdir()
    for name in ("made_of.json", "vocabulary.json"):
        shutil.copy(trained / "own.work" / name, tmp_path / "own.work")
    texts = trained / "texts.jsonl"
    if other is None:
        texts = tmp_path / "texts.jsonl"
        texts.write_text((trained / "texts.jsonl").read_text("utf8") + '{"text": "喂", "split": "train"}\n', "utf8")
    with pytest.raises(OtherWork, match=r"own\.work is of a training from other texts, or with another seed"):
        train_from_scratch([texts], out, other or _LITTLE)
    (tmp_path / "own.work" / "made_of.json").unlink()  # as it was before such work named what it is made of
    with pytest.raises(OtherWork):
        train_from_scratch([trained / "texts.jsonl"], out, _LITTLE)
    assert not out.exists()


def test_a_command_from_scratch_refuses_what_is_there(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "您好", "split": "train"}\n', "utf8")
    with pytest.raises(CannotStart, match="exists and is not an empty folder"):
        train_asr_from_scratch([texts], tmp_path, 1, 1, 0)
    assert texts.is_file()


def test_trains_on_from_what_was_exported_in_half_precision(trained: Path) -> None:
    work = trained / "own.work"
    out = trained / "on.pt"
    train(
        Training(
            vocabulary=trained / "own",
            shards=work / "shards",
            out=out,
            init=trained / "own",
            stage="joint",
            minutes=0.03,
            precision="bf16",
        )
    )
    weights = torch.load(out, weights_only=True)["model"]
    begun = torch.load(work / "windows.pt", weights_only=True)["model"]
    assert weights.keys() == begun.keys()
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in weights.values())
    assert any(not torch.equal(weights[name], begun[name]) for name in weights)


def test_training_without_shards_or_out_is_refused_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["transcriber", "--vocabulary", "models/bundled/transcriber"])
    with pytest.raises(SystemExit):
        main()
    assert "training needs --shards and --out" in capsys.readouterr().err
