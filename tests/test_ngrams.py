"""The n-grams beside a small encoder."""

from pathlib import Path

import numpy as np
import pytest

from models.call import Label
from models.classifier import OUTPUTS
from models.ngrams import Ngrams
from pipelines.training.dataset import Row
from pipelines.training.ngram_weights import fit_ngrams, weighed

_THREAT = OUTPUTS.index(Label.THREAT)
_SAID = ["今天不还就上门找你", "明天到你家门口坐着", "您好请问是本人吗", "这期账单明天到期"]
_PAIRS = [(text, "喂您好") for text in _SAID] * 10
_ROWS = [
    Row("one", "train", "collector", text, (), (Label.THREAT,) if "门" in text else (), (), False, "call")
    for text, _ in _PAIRS
]


@pytest.fixture(scope="module")
def ngrams() -> Ngrams:
    return fit_ngrams(_PAIRS, _ROWS)


def test_ngrams_know_what_they_learned_by_word_and_by_sound(ngrams: Ngrams) -> None:
    said, misheard, other = ngrams([("明天到你家门口坐着", ""), ("明填到泥家们口做着", ""), ("请问是本人吗", "")])
    assert said[_THREAT] > misheard[_THREAT] > 0 > other[_THREAT]


def test_what_is_unknown_is_no_evidence(ngrams: Ngrams) -> None:
    unknown, other, empty = ngrams([("zzz", "xyz"), ("qqqqqq", ""), ("", "")])
    assert np.allclose(unknown, other)
    assert np.isfinite(empty).all()


def test_saved_ngrams_say_the_same(ngrams: Ngrams, tmp_path: Path) -> None:
    ngrams.save(tmp_path / "ngrams.npz")
    assert np.allclose(Ngrams.load(tmp_path / "ngrams.npz")(_PAIRS[:4]), ngrams(_PAIRS[:4]), atol=0.01)


def test_an_encoder_counts_for_as_much_as_it_knows(ngrams: Ngrams) -> None:
    truth = np.array([Label.THREAT in row.labels for row in _ROWS])
    guessing = np.zeros((len(_ROWS), len(OUTPUTS)), np.float32)
    blend = weighed(ngrams, guessing, _ROWS, _PAIRS).blended(guessing, _PAIRS)
    assert ((blend[:, _THREAT] > 0) == truth).all()
