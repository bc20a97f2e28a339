"""Sentences -> shards of telephone speech in neural voices, which are nearer to people than those of formants."""

import argparse
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.training.human_speech import as_other_speaker
from pipelines.training.neural_voices import SPEAKERS, NeuralVoices, can_speak
from pipelines.training.shards import Clip, clip_of, read_texts, write_series
from pipelines.training.synthesis import Speech
from pipelines.training.telephone import degrade

NEURAL = "neural"
_BATCH = 32
_PATHS = 2  # telephone paths, and throats, that one sentence is heard through


def sentences_spoken(
    voices: NeuralVoices, sources: Sequence[Sequence[str]], chooser: random.Random
) -> Iterator[tuple[str, Speech]]:
    """For ever; each source as often as another, in random mixtures of two speakers."""
    while True:
        drawn = (chooser.choice(chooser.choice(sources)) for _ in range(_BATCH * 10))
        pool = sorted(filter(can_speak, drawn), key=len)
        batches = [pool[first : first + _BATCH] for first in range(0, len(pool), _BATCH)]
        chooser.shuffle(batches)
        for texts in batches:
            spoken = voices.speak(texts, [_mixture(voices, chooser) for _ in texts])
            yield from ((text, speech) for text, speech in zip(texts, spoken, strict=True) if speech)


def _mixture(voices: NeuralVoices, chooser: random.Random) -> Tensor:
    share = chooser.choice([1.0, chooser.random()])
    one, other = chooser.sample(SPEAKERS, 2)
    return voices.voice((one, share), (other, 1 - share))


def write_neural_shards(
    voices: NeuralVoices, sources: Sequence[Sequence[str]], out: Path, *, seed: int, count: int, per_shard: int = 400
) -> None:
    write_series(_clips(voices, sources, seed), out, f"{seed:03d}-{NEURAL}", count, per_shard)


def _clips(voices: NeuralVoices, sources: Sequence[Sequence[str]], seed: int) -> Iterator[Clip]:
    """For ever."""
    chooser, noise_of = random.Random(seed), np.random.default_rng(seed)
    torch.manual_seed(seed)
    before = np.zeros(0, np.float32)
    for text, speech in sentences_spoken(voices, sources, chooser):
        for _ in range(_PATHS):
            factor = chooser.uniform(0.75, 1.15)
            samples = as_other_speaker(speech.samples, factor)
            heard = degrade(samples, noise_of, before if before.size >= samples.size else None)
            yield clip_of(heard, text, speech.syllables, speech.spans / factor, chooser=chooser)
        before = samples


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, nargs="+", help="a file named twice is drawn from twice as often")
    parser.add_argument("--wheel", type=Path, required=True, help="ttskit-0.3.8-py3-none-any.whl")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--count", type=int, default=10)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_neural_shards(
        NeuralVoices(options.wheel),
        [read_texts(path) for path in options.texts],
        options.out,
        seed=options.seed,
        count=options.count,
    )
