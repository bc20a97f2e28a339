"""Many voices at once, of which no word can be told: ordinary talk by espeak-ng."""

from collections.abc import Sequence

import numpy as np

from pipelines.training.dataset import CORPUS, read_rows
from pipelines.training.synthesis import HELD_OUT, SAMPLE_RATE, Synthesizer, Voice
from pipelines.training.telephone import Samples


class Babble:
    """Of voices and a split's texts: what is measured with is never trained on."""

    def __init__(self, voices: Sequence[str] = HELD_OUT, split: str = "test") -> None:
        """Raises RuntimeError saying what to install, if espeak-ng is missing."""
        self._voices = voices
        self._synthesizer = Synthesizer()
        rows = read_rows([CORPUS / "calls.jsonl"])
        self._texts = [row.text for row in rows if row.split == split and not row.labels]

    def __call__(self, seconds: float, voices: int, random: np.random.Generator) -> Samples:
        """`voices`: how many speak at once."""
        mixed = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
        for name in random.permutation(self._voices)[:voices]:
            voice = Voice(str(name), int(random.integers(25, 75)), 50, int(random.integers(170, 260)))
            mixed += self._talk(mixed.size, voice, random)
        return mixed

    def _talk(self, length: int, voice: Voice, random: np.random.Generator) -> Samples:
        parts: list[Samples] = []
        missing = length
        while missing > 0:
            parts.append(self._synthesizer.speak(self._texts[random.integers(len(self._texts))], voice).samples)
            missing -= parts[-1].size
        return np.roll(np.concatenate(parts)[:length], int(random.integers(length)))
