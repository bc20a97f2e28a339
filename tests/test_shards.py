"""What the recogniser is trained on: synthetic clips timed by syllable, people's clips beside a teacher's hearing."""

import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.training.human_speech import Spoken, as_other_speaker, phrase, trained_sentences
from pipelines.training.recogniser import TEACHER, Recogniser, Vocabulary, configuration
from pipelines.training.shards import Clip, clip_of, read_shard, write_shard
from pipelines.training.synthesis import pinyin
from pipelines.training.windows import clips, collate, short_batches

SECOND = 16_000


def tone(seconds: float) -> np.ndarray:
    return np.sin(np.arange(int(seconds * SECOND)) * 0.3).astype(np.float32)


@pytest.fixture
def timed() -> Clip:
    spans = np.array([[0.0, 0.4], [0.4, 1.0]], np.float32)
    return clip_of(tone(1), "还款", ("huan2", "kuan3"), spans, chooser=random.Random(1))


@pytest.fixture
def taught() -> Clip:
    def teach(samples: np.ndarray) -> np.ndarray:
        return np.ones((samples.size // 320, TEACHER), np.float16)

    untimed = np.zeros((0, 2), np.float32)
    return clip_of(tone(2), "明天", ("ming2", "tian1"), untimed, chooser=random.Random(2), teach=teach)


def test_a_shard_is_read_as_it_was_written(timed: Clip, taught: Clip, tmp_path: Path) -> None:
    for some in ([timed, timed], [taught, taught]):
        write_shard(some, tmp_path / "001-0000.npz")
        for read, written in zip(read_shard(tmp_path / "001-0000.npz"), some, strict=True):
            assert (read.text, read.syllables) == (written.text, written.syllables)
            np.testing.assert_array_equal(read.mel, written.mel)
            np.testing.assert_array_equal(read.spans, written.spans)
            np.testing.assert_array_equal(read.taught, written.taught)


def test_times_that_nobody_knows_are_not_learnt_and_a_teacher_is_where_it_heard(timed: Clip, taught: Clip) -> None:
    vocabulary = Vocabulary(list("还款明天"), ["huan", "kuan", "ming", "tian"])
    batch = collate([[timed, taught]], vocabulary, 600, random.Random(3))
    known = len(timed.mel) // 2
    assert set(batch.syllable[0, :known].tolist()) == {0, 1, 2}
    heard = batch.taught_at[:, 1]
    assert (batch.syllable[0, heard[:-2]] == -100).all()
    assert len(batch.taught) == len(taught.taught)
    assert (heard >= known).all()
    assert batch.tokens[0, 4:8].tolist() == [vocabulary.character_id[c] for c in "还款明天"]
    torch.manual_seed(0)
    losses = Recogniser(configuration(len(vocabulary)), 4).losses(batch, "windows")
    assert losses["teacher"].item() > 0.5
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_joined_words_share_their_time_among_their_syllables() -> None:
    words = [Spoken(tone(0.6), "还款", ("huan2", "kuan3"), True), Spoken(tone(0.3), "好", ("hao3",), True)]
    samples, spans = phrase(words, 1.0, random.Random(0))
    assert np.allclose(spans[:2], [[0, 0.3], [0.3, 0.6]], atol=0.01)
    assert spans[2, 1] - spans[2, 0] == pytest.approx(0.3, abs=0.01)
    assert spans[2, 0] >= 0.6
    assert samples.size >= spans[2, 1] * SECOND - 1


def test_another_throat_is_higher_and_faster() -> None:
    assert as_other_speaker(tone(1), 1.25).size == pytest.approx(SECOND / 1.25, rel=0.01)


def test_every_clip_of_a_shard_is_in_a_batch(timed: Clip, tmp_path: Path) -> None:
    write_shard([timed] * 5, tmp_path / "001-0000.npz")
    vocabulary = Vocabulary(list("还款"), ["huan", "kuan"])
    batches = short_batches(tmp_path, vocabulary, random.Random(0), 2 * len(timed.mel))
    assert sorted(len(batch.mel) for batch in islice(batches, 3)) == [1, 2, 2]
    assert len(next(short_batches(tmp_path, vocabulary, random.Random(0), 100 * len(timed.mel))).mel) == 5


def test_a_folder_without_synthetic_speech_is_named(taught: Clip, tmp_path: Path) -> None:
    write_shard([taught], tmp_path / "001-human-0000.npz")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no shard of synthetic speech"):
        next(clips(tmp_path, random.Random(0)))


def test_missing_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"sentences\.jsonl"):
        trained_sentences(tmp_path)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("什么时候还", "huan2"),
        ("你还不上的", "huan2"),
        ("先还一部分", "huan2"),
        ("归还", "huan2"),
        ("还三千，", "huan2"),
        ("你还要怎样", "hai2"),
        ("还不接电话", "hai2"),
        ("还是那样", "hai2"),
        ("你必须得来", "dei3"),
        ("说得好", "de2"),
    ],
)
def test_characters_of_two_readings_are_read_as_calls_have_them(text: str, read: str) -> None:
    place = max(text.find("还"), text.find("得"))
    assert pinyin(text)[place] == read
