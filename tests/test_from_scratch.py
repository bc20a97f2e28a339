"""A recogniser from texts alone: every stage, little of each, to a folder that is served."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.transcriber import Transcriber
from pipelines.training.from_scratch import Effort, train_from_scratch
from pipelines.training.transcriber import Training, Vocabulary, train
from tests.conftest import needs_debian

_TEXTS = ["您好，请问是张先生吗？", "今天能还多少？", "我下周发工资。", "您的账单已经逾期了。", "好的，谢谢。"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs_debian("espeak-ng")
    folder = tmp_path_factory.mktemp("scratch")
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text, "split": "train"}) + "\n" for text in _TEXTS), "utf8")
    little = Effort(shards=1, encoder_minutes=0.03, decoder_minutes=0.03, windows_minutes=0.03)
    train_from_scratch([texts], folder / "own", little)
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
    train_from_scratch([trained / "texts.jsonl"], trained / "own", Effort(shards=1))
    assert {file.name: file.stat().st_mtime_ns for file in work.glob("*.pt")} == before


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
