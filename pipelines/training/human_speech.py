"""Recordings of people reading -> shards: sentences, and words and syllables joined to phrases, over random lines.

A word said alone tells about when its syllables sound; within a sentence nobody knows.
"""

import argparse
import io
import random
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray

from models.simplified import simplified
from pipelines.training.dataset import CORPUS, read_rows
from pipelines.training.shards import HUMAN, Clip, clip_of, write_series
from pipelines.training.synthesis import HANZI, SAMPLE_RATE, pinyin
from pipelines.training.teacher import teacher
from pipelines.training.telephone import degrade
from pipelines.training.texts import read_sentences

TRAINED_ON = ("S0150",)  # AISHELL-1; all other readers of sentences are kept for measuring
_QUIET = 0.03  # of a word's peak
_SENTENCES = 0.55  # share of clips
_SYLLABLES = 0.15  # of the pieces of a phrase

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Spoken:
    samples: Samples
    text: str
    syllables: tuple[str, ...]
    timed: bool


def trained_sentences(reference: Path) -> list[Spoken]:
    """Of the readers in TRAINED_ON. Raises FileNotFoundError naming what is missing."""
    found = []
    for row in read_sentences(reference):
        if row["speaker"] in TRAINED_ON:
            samples, _ = soundfile.read(reference / "speech" / row["audio"], dtype="float32")
            text = simplified(row["text"])
            found.append(Spoken(samples, text, tuple(pinyin("".join(HANZI.findall(text)))), timed=False))
    return found


def read_words(reference: Path) -> tuple[list[Spoken], list[Spoken]]:
    """Words, and single syllables, each written as the character that the corpus has most often for it."""
    common = Counter("".join(row.text for row in read_rows([CORPUS / "calls.jsonl"])))
    character = {}
    for hanzi, _ in reversed(common.most_common()):
        if HANZI.match(hanzi):
            character[pinyin(hanzi)[0]] = hanzi
    words, syllables = [], []
    with tarfile.open(reference / "speech" / "words_and_syllables.tar") as archive:
        for member in archive:
            name = re.fullmatch(r".*/cmn-(.+)\.mp3", member.name)
            file = archive.extractfile(member) if name else None
            if name is None or file is None:
                continue
            said = character.get(name[1], "") if member.name.startswith("syllables/") else simplified(name[1])
            if not said or not all(map(HANZI.match, said)):
                continue
            samples, rate = soundfile.read(io.BytesIO(file.read()), dtype="float32", always_2d=True)
            trimmed = _trimmed(soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE))
            if trimmed.size > SAMPLE_RATE / 10:
                spoken = Spoken(trimmed, said, tuple(pinyin(said)), timed=True)
                (syllables if member.name.startswith("syllables/") else words).append(spoken)
    return words, syllables


def _trimmed(samples: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(samples) > _QUIET * (np.abs(samples).max() or 1.0))
    return samples[loud[0] : loud[-1] + 1].astype(np.float32) if loud.size else samples[:0]


def as_other_speaker(samples: Samples, factor: float) -> Samples:
    """Pitch, formants and tempo all times `factor`: another throat says the same."""
    return soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE).astype(np.float32)


def phrase(pieces: Sequence[Spoken], factor: float, chooser: random.Random) -> tuple[Samples, NDArray[np.float32]]:
    """Words joined with short gaps, and the span of each syllable in seconds, its word shared out evenly."""
    parts: list[Samples] = []
    spans: list[tuple[float, float]] = []
    at = 0
    for piece in pieces:
        samples = as_other_speaker(piece.samples / (np.abs(piece.samples).max() + 1e-6), factor)
        edges = np.linspace(at, at + samples.size, len(piece.syllables) + 1) / SAMPLE_RATE
        spans += pairwise(edges)
        gap = np.zeros(int(chooser.uniform(0.0, 0.12) * SAMPLE_RATE), np.float32)
        parts += [samples, gap]
        at += samples.size + gap.size
    return np.concatenate(parts), np.array(spans, np.float32).reshape(-1, 2)


def write_human_shards(reference: Path, out: Path, seed: int, count: int, per_shard: int = 200) -> None:
    """`count` shards of `per_shard` clips. Raises FileNotFoundError naming what is missing."""
    write_series(_clips(reference, seed), out, f"{seed:03d}-{HUMAN}", count, per_shard)


def _clips(reference: Path, seed: int) -> Iterator[Clip]:
    """For ever."""
    chooser, noise_of = random.Random(seed), np.random.default_rng(seed)
    sentences = trained_sentences(reference)
    words, syllables = read_words(reference)
    teach = teacher(reference / "teacher" / "whisper_base_encoder.safetensors")
    while True:
        factor = chooser.uniform(0.8, 1.25)
        if chooser.random() < _SENTENCES:
            pieces = [chooser.choice(sentences)]
            samples = as_other_speaker(pieces[0].samples, factor)
            spans = np.zeros((0, 2), np.float32)
        else:
            pieces = [
                chooser.choice(syllables if chooser.random() < _SYLLABLES else words)
                for _ in range(chooser.randint(2, 6))
            ]
            samples, spans = phrase(pieces, factor, chooser)
        babble = chooser.choice(sentences).samples
        heard = degrade(samples, noise_of, babble if babble.size >= samples.size else None)
        text = "".join(piece.text for piece in pieces)
        sounds = [sound for piece in pieces for sound in piece.syllables]
        yield clip_of(heard, text, sounds, spans, chooser=chooser, teach=teach)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True, help="folder of reference data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=900)
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_human_shards(options.reference, options.out, options.seed, options.count)
