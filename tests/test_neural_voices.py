"""Sentences as the neural synthesiser takes them, and what it may not do to whoever trains with it."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.training.neural_voices import NeuralVoices, _script, _spans, can_speak, phones


@pytest.mark.parametrize(
    ("syllable", "spelt"),
    [
        ("zhi4", "zh ix 4"),
        ("si3", "s iy 3"),
        ("ri4", "r iz 4"),
        ("yuan2", "vv van 2"),
        ("you3", "ii iu 3"),
        ("ying1", "ii ing 1"),
        ("yong4", "ii iong 4"),
        ("wei2", "uu ui 2"),
        ("weng1", "uu ueng 1"),
        ("wu3", "uu u 3"),
        ("ai4", "aa ai 4"),
        ("er2", "ee er 2"),
        ("que4", "q ve 4"),
        ("jiong3", "j iong 3"),
        ("lv4", "l v 4"),
        ("huan2", "h uan 2"),
        ("n2", "ee en 2"),
    ],
)
def test_syllables_are_spelt_as_initial_final_and_tone(syllable: str, spelt: str) -> None:
    assert phones(syllable) == spelt.split()


def test_only_chinese_sentences_can_be_spoken() -> None:
    assert can_speak("还款日是明天，对吧？")
    assert not any(map(can_speak, ("", "，。", "abc", "还款OK", "3号")))


def test_a_syllable_lasts_while_it_is_looked_at_and_a_lost_sentence_has_no_times() -> None:
    script = _script("还款")
    looked_at = [0, 0, 1, 2, 2, 4, 5, 6, 6, 7]  # symbols, four a syllable with the one between
    gaze = np.eye(len(script.symbols), dtype=np.float32)[looked_at]
    spans = _spans(script, gaze)
    assert spans is not None
    assert spans.tolist() == [[0, 5], [5, 13]]
    for lost in (looked_at[5:], [*looked_at, 0], [4, 0]):  # one passed over, said twice, out of order
        assert _spans(script, np.eye(len(script.symbols), dtype=np.float32)[lost]) is None


class _Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('ran', 'w')",)


def test_weights_that_would_run_something_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved = io.BytesIO()
    torch.save({"weight": torch.zeros(1), "trap": _Hostile()}, saved)
    with zipfile.ZipFile("ttskit.whl", "w") as wheel:
        wheel.writestr("ttskit/resource/model/mellotron.kuangdd-mspk.pt", saved.getvalue())
    with pytest.raises(ValueError, match="is not ttskit"):
        NeuralVoices(Path("ttskit.whl"))
    assert not Path("ran").exists()
