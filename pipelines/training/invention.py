"""Sounds without a word -> how many utterances the whole journey invents and flags, an hour.

Sound is made while it is scored, a stretch at a time, so that hours of it need no memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from zlib import crc32

import numpy as np

from models.call import Recording
from pipelines.hearing import UNKNOWN_SPEAKER
from pipelines.report import Report
from pipelines.training.babble import Babble
from pipelines.training.in_memory import recording_of
from pipelines.training.nonspeech import SOUNDS, sound
from pipelines.training.telephone import Samples

BABBLE = "TV babble"


@dataclass(frozen=True, slots=True)
class Listening:
    """What is listened to."""

    hours: float = 2.0  # together
    stretch_s: float = 120.0  # one recording
    levels_dbfs: tuple[float, ...] = (-50.0, -40.0, -30.0, -20.0, -10.0, -3.0)  # of the peak
    babblers: int = 6  # voices that speak at once
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Invented:
    """What was found in one stretch of sound in which nobody speaks."""

    sound: str
    level_dbfs: float
    seconds: float
    utterances: int
    suppressed: int
    flagged: int
    counted: int  # flagged, and in the verdict without a person's hearing it, had the collector said it
    texts: tuple[str, ...]  # of what is flagged


def listen(
    score: Callable[[Recording], Report], listening: Listening | None = None, babble: Babble | None = None
) -> Iterator[Invented]:
    """One result a stretch, every sound at every level in turn until the hours are full; babble if it is given."""
    chosen = listening or Listening()
    names = [*SOUNDS, *([BABBLE] if babble else [])]
    kinds = cycle([(name, level) for level in chosen.levels_dbfs for name in names])
    count = max(1, round(chosen.hours * 3600 / chosen.stretch_s))
    for number, (name, level) in enumerate(islice(kinds, count)):
        random = np.random.default_rng([chosen.seed, number, crc32(name.encode())])
        if name == BABBLE and babble:
            samples = _peak(babble(chosen.stretch_s, chosen.babblers, random), level)
        else:
            samples = sound(name, chosen.stretch_s, level, random)
        recording = recording_of(samples)
        report = score(recording)
        flagged = [u for u in report.utterances if u.labels]
        yield Invented(
            name,
            level,
            recording.duration,
            len(report.utterances),
            len(report.suppressed),
            len(flagged),
            sum(set(u.review_reasons) <= {UNKNOWN_SPEAKER} for u in flagged),
            tuple(u.text for u in flagged),
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one sound, or of all."""

    sound: str
    hours: float
    utterances: int
    suppressed: int
    flagged: int
    counted: int

    @property
    def flagged_an_hour(self) -> float:
        return self.flagged / self.hours if self.hours else 0.0


def rates(found: Sequence[Invented]) -> list[Rate]:
    """Of every sound, and of all together at the end."""
    names = list(dict.fromkeys(part.sound for part in found))
    return [_rate(name, [part for part in found if part.sound == name]) for name in names] + [_rate("all", found)]


def _rate(name: str, found: Sequence[Invented]) -> Rate:
    return Rate(
        name,
        sum(part.seconds for part in found) / 3600,
        sum(part.utterances for part in found),
        sum(part.suppressed for part in found),
        sum(part.flagged for part in found),
        sum(part.counted for part in found),
    )


def _peak(samples: Samples, level_dbfs: float) -> Samples:
    return (samples / np.abs(samples).max() * 10 ** (level_dbfs / 20)).astype(np.float32)
