"""Recordings of people reading sentences -> calls of two of them on one line, with who speaks when."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from pipelines.training.telephone import SAMPLE_RATE, Samples, degrade
from pipelines.training.texts import read_sentences

_QUIET = 0.02  # of a sentence's peak


@dataclass(frozen=True, slots=True)
class Turn:
    """Who speaks when: 0 or 1; seconds."""

    speaker: int
    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class MixedCall:
    name: str
    samples: Samples  # at 16 kHz
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Mixing:
    turns: int = 16
    most_sentences: int = 3  # in one turn
    pause_s: tuple[float, float] = (-0.3, 0.9)  # between turns; below 0 they overlap
    least_sentences: int = 40  # a speaker must have


def human_calls(reference: Path, count: int, seed: int = 0, mixing: Mixing | None = None) -> Iterator[MixedCall]:
    """Each speaker has one telephone path for the whole call.

    Raises FileNotFoundError naming what is missing in the folder of reference data.
    """
    chosen, chooser = mixing or Mixing(), random.Random(seed)
    sentences = _by_speaker(read_sentences(reference))
    speakers = sorted(name for name, rows in sentences.items() if len(rows) >= chosen.least_sentences)
    for number in range(count):
        pair = chooser.sample(speakers, 2)
        rows = [chooser.sample(sentences[name], chosen.least_sentences) for name in pair]
        position = SAMPLE_RATE // 2
        placed: list[tuple[int, int, Samples]] = []
        turns: list[Turn] = []
        for index in range(chosen.turns):
            side = index % 2
            said = [rows[side].pop() for _ in range(chooser.randint(1, min(chosen.most_sentences, len(rows[side]))))]
            sound = np.concatenate([_trimmed(reference / "speech" / row["audio"]) for row in said])
            start, end = position, position + sound.size
            placed.append((side, start, sound))
            text = "".join(row["text"] for row in said)
            turns.append(Turn(side, start / SAMPLE_RATE, end / SAMPLE_RATE, text))
            position = end + round(chooser.uniform(*chosen.pause_s) * SAMPLE_RATE)
        sides = np.zeros((2, max(start + sound.size for _, start, sound in placed) + SAMPLE_RATE // 2), np.float32)
        for side, start, sound in placed:
            sides[side, start : start + sound.size] = sound
        heard = [degrade(track, np.random.default_rng([seed, number, side])) for side, track in enumerate(sides)]
        length = min(track.size for track in heard)  # resampling there and back may cost a sample
        levelled = [_at_level(track[:length], chooser.uniform(-26, -20)) for track in heard]
        mixed = np.clip(levelled[0] + levelled[1], -1, 1)
        yield MixedCall(f"{pair[0]} and {pair[1]}, call {number}", mixed, tuple(turns))


def _by_speaker(rows: Sequence[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    found = defaultdict(list)
    for row in rows:
        found[row["speaker"]].append(row)
    return found


def _trimmed(file: Path) -> Samples:
    sound, _ = soundfile.read(file, dtype="float32")
    loud = np.flatnonzero(np.abs(sound) > _QUIET * np.abs(sound).max())
    return np.asarray(sound[loud[0] : loud[-1] + 1], np.float32)


def _at_level(track: Samples, level_dbfs: float) -> Samples:
    """Of its louder half second stretches, as talk has pauses."""
    stretch = SAMPLE_RATE // 2
    power = [float(np.mean(track[at : at + stretch] ** 2)) for at in range(0, track.size, stretch)]
    return track * np.float32(10 ** (level_dbfs / 20) / (np.sqrt(np.quantile(power, 0.75)) + 1e-9))
