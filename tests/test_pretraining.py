"""Weights that took hours stay until there are others, and a command that lacks something says so at once."""

import gzip
import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from models.call import KINDS
from models.classifier import NGRAMS, Calibration, Classifier
from pipelines.training.classifier import character_tokenizer, main, pretrain
from pipelines.training.export_classifier import weigh
from pipelines.training.noise import Misheard
from pipelines.training.texts import held_out, ordinary_talk
from tests.conftest import ROOT

_PAIRS = [("今天能还款吗", ""), ("我下周发工资", "您好")]
_CHARACTERS = sorted({c for text, _ in _PAIRS for c in text})


def briefly(pretrained: Path) -> Namespace:
    return Namespace(threads=1, seed=0, resume=False, pretrained=pretrained, rate=1e-3, batch=1, minutes=1e-6)


def test_pretraining_leaves_weights_and_their_tokenizer(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(_CHARACTERS)
    pretrain(_PAIRS, tokenizer, Misheard(_CHARACTERS), briefly(tmp_path / "own.pt"))
    weights = torch.load(tmp_path / "own.pt", weights_only=True)
    read = Tokenizer.from_file(str(tmp_path / "own.json"))
    assert weights["bert.embeddings.word_embeddings.own.weight"].shape[0] == read.get_vocab_size()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["own.json", "own.pt"]


def test_a_run_that_cannot_write_leaves_those_of_the_run_before(tmp_path: Path) -> None:
    (tmp_path / "own.pt").write_bytes(b"weights of hours")
    (tmp_path / "own.json").write_bytes(b"their tokenizer")
    (tmp_path / ".own-unfinished.pt").mkdir()
    with pytest.raises((OSError, RuntimeError)):
        pretrain(_PAIRS, character_tokenizer(_CHARACTERS), Misheard(_CHARACTERS), briefly(tmp_path / "own.pt"))
    assert (tmp_path / "own.pt").read_bytes() == b"weights of hours"
    assert (tmp_path / "own.json").read_bytes() == b"their tokenizer"


@pytest.mark.parametrize(("stage", "lacks"), [("pretrain", "--pretrained"), ("weigh", "--out")])
def test_a_stage_says_what_it_needs(
    stage: str, lacks: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["classifier", stage, "--reference", "nowhere"])
    with pytest.raises(SystemExit):
        main()
    assert f"{stage} needs {lacks}" in capsys.readouterr().err


def test_a_folder_that_is_weighed_is_whole_until_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "classifier"
    shutil.copytree(ROOT / "models" / "bundled" / "classifier", folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    assert NGRAMS in before

    class Killed(Exception):
        pass

    def kill(served: Classifier) -> Calibration:
        assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before
        raise Killed

    with pytest.raises(Killed):
        weigh(folder, kill, None)
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before
    other = Calibration(*(dict.fromkeys(KINDS, value) for value in (2.0, 0.1, 0.4)))
    weigh(folder, lambda served: other, None)
    assert sorted(file.name for file in folder.iterdir()) == sorted(before.keys() - {NGRAMS})
    assert json.loads((folder / "calibration.json").read_text("utf8"))["slope"] == other.slope


def test_ordinary_talk_leaves_out_what_is_held_out(tmp_path: Path) -> None:
    said = [f"这部电影讲的是第{number}个故事" for number in range(40)]
    (tmp_path / "text").mkdir()
    with gzip.open(tmp_path / "text" / "dialogue.jsonl.gz", "wt", encoding="utf8") as lines:
        for source, text in [*(("kdconv", text) for text in said), ("elsewhere", "别的")]:
            lines.write(json.dumps({"source": source, "text": text}) + "\n")
    found = [text for text, _ in ordinary_talk(tmp_path)]
    assert found == [text for text in said if not held_out(text)]
    assert 0 < len(found) < len(said)
