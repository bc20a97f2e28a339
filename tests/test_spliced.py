"""Text spoken in splices of what the encoder heard elsewhere: the right syllables in order, and only heard ones."""

import random
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.training.recogniser import Batch, Recogniser, Spliced, Vocabulary, configuration
from pipelines.training.shards import Clip, clip_of, write_shard
from pipelines.training.spliced import Splices, spliced_batches
from pipelines.training.windows import collate, window_batches

FRAMES = 600


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(list("还款明天，"), ["huan", "kuan", "ming", "tian"])


@pytest.fixture
def model(vocabulary: Vocabulary) -> Recogniser:
    torch.manual_seed(0)
    return Recogniser(configuration(len(vocabulary)), len(vocabulary.syllables))


@pytest.fixture
def clip() -> Clip:
    spans = np.array([[0.0, 0.4], [0.4, 1.0], [1.5, 1.8], [1.8, 2.3]], np.float32)
    tone = np.sin(np.arange(int(2.3 * 16_000)) * 0.3).astype(np.float32)
    return clip_of(tone, "还款，明天", ("huan2", "kuan3", "ming2", "tian1"), spans, chooser=random.Random(1))


@pytest.fixture
def splices(vocabulary: Vocabulary, model: Recogniser, clip: Clip) -> Splices:
    cut = Splices(vocabulary, FRAMES // 2)
    cut.cut(model, collate([[clip], [clip, clip]], vocabulary, FRAMES, random.Random(2)))
    cut.index()
    return cut


def test_characters_sound_one_after_another(splices: Splices, vocabulary: Vocabulary) -> None:
    spoken = splices.speak(["明天还款", "还款，明天"], random.Random(3))
    assert spoken
    states, ids, places = spoken
    assert states.shape == (FRAMES // 2, 256)
    assert np.isfinite(states).all()
    assert ids == [vocabulary.character_id[c] for c in "明天还款还款，明天"]
    sounding = [place for place in places if place != (0, 0)]
    assert len(sounding) == 8
    assert all(begin < later for (begin, _), (later, _) in pairwise(sounding))
    assert places[6] == (0, 0)  # the comma


def test_a_syllable_where_it_was_heard_is_what_the_encoder_made_of_it(
    splices: Splices, model: Recogniser, vocabulary: Vocabulary, clip: Clip
) -> None:
    batch = collate([[clip], [clip, clip]], vocabulary, FRAMES, random.Random(2))
    with torch.no_grad():
        heard = model.encode(batch.mel)[0].numpy()
    spoken = splices.speak(["还款，明天"], random.Random(4))
    assert spoken
    (begin, end), *_ = spoken[2]
    apart = np.abs(spoken[0][begin + 1 : end - 1] - heard[begin + 1 : end - 1]).mean()
    assert apart < np.abs(heard[begin + 1 : end - 1]).mean() / 5


def test_what_was_never_heard_is_not_spoken(splices: Splices) -> None:
    assert splices.speak(["您好"], random.Random(5)) is None


def test_what_does_not_fit_is_left_out(splices: Splices) -> None:
    spoken = splices.speak(["明天还款", *["还款，明天"] * 20], random.Random(6))
    assert spoken
    assert 9 <= len(spoken[1]) < 60
    assert max(end for _, end in spoken[2]) <= FRAMES // 2


def test_speech_and_splices_take_turns_and_only_the_decoder_learns(
    model: Recogniser, vocabulary: Vocabulary, clip: Clip, tmp_path: Path
) -> None:
    write_shard([clip] * 12, tmp_path / "001-0000.npz")
    chooser = random.Random(7)
    windows = window_batches(tmp_path, vocabulary, chooser, 2 * FRAMES, FRAMES)
    batches = spliced_batches(model, vocabulary, windows, ["明天还款", "还款"], chooser=chooser, frames=FRAMES, count=4)
    some = list(islice(batches, 5))
    assert [type(batch) for batch in some] == [Batch, Spliced, Spliced, Spliced, Batch]
    for batch in some[:2]:
        model.zero_grad()
        sum(model.losses(batch, "spliced").values()).backward()
        learnt = {name.split(".")[2] for name, value in model.named_parameters() if value.grad is not None}
        assert "decoder" in learnt
        assert "encoder" not in learnt


def test_without_a_sentence_it_says_what_is_missing(
    model: Recogniser, vocabulary: Vocabulary, clip: Clip, tmp_path: Path
) -> None:
    write_shard([clip] * 4, tmp_path / "001-0000.npz")
    windows = window_batches(tmp_path, vocabulary, random.Random(8), FRAMES, FRAMES)
    batches = spliced_batches(model, vocabulary, windows, [], chooser=random.Random(8), frames=FRAMES, count=1)
    with pytest.raises(ValueError, match="--sentences"):
        next(batches)
