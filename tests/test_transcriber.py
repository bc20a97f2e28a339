from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.call import SAMPLE_RATE, Channel
from models.errors import ModelNotFound
from models.transcriber import Decoding, Transcriber
from pipelines.decode import decode

CALL = Path(__file__).parent / "data" / "calls" / "lawful-reminder.mp3"


class InMemory:
    def __init__(self, samples: NDArray[np.float32]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return self._samples.size

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._samples[start:stop]


def test_batched_and_sequential_decoding_agree() -> None:
    batched = Transcriber(decoding=Decoding(batched=True))
    sequential = Transcriber(decoding=Decoding(batched=False))
    with decode(CALL) as recording:
        for channel in recording.channels:
            assert [s.text for s in batched(channel)] == [s.text for s in sequential(channel)]


def test_segments_lie_in_order_within_the_recording_and_words_within_segments() -> None:
    with decode(CALL) as recording:
        segments = list(Transcriber()(recording.channels[0]))
        assert segments
        for before, after in pairwise(segments):
            assert before.end <= after.start + 0.01
        for segment in segments:
            assert 0 <= segment.start <= segment.end <= recording.duration
            assert all(segment.start <= word.start <= word.end <= segment.end + 0.01 for word in segment.words)


@pytest.mark.parametrize("level", [0.0, 0.001, 0.1])
def test_silence_and_noise_have_no_words(level: float) -> None:
    noise = np.random.default_rng(0).standard_normal(20 * SAMPLE_RATE).astype(np.float32) * level
    assert list(Transcriber()(Channel(0, InMemory(noise)))) == []


def test_a_missing_folder_names_the_setting() -> None:
    with pytest.raises(ModelNotFound, match="CALLAUDIT_ASR_MODEL=/nowhere"):
        Transcriber("/nowhere")
