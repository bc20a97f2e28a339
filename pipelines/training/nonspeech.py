"""Sounds of a telephone line on which nobody speaks, with names, for training and for the figure of invented words."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipelines.training.telephone import SAMPLE_RATE, coloured_noise

Samples = NDArray[np.float32]
_DTMF_LOW, _DTMF_HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)


def _tone(seconds: float, *hertz: float) -> Samples:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.sum([np.sin(2 * np.pi * f * time) for f in hertz], axis=0).astype(np.float32)


def _ringback(seconds: float, _: np.random.Generator) -> Samples:
    """450 Hz, 1 s on, 4 s off, as exchanges in China send it."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (_tone(seconds, 450) * (time % 5 < 1)).astype(np.float32)


def _dtmf(seconds: float, random: np.random.Generator) -> Samples:
    pause = np.zeros(SAMPLE_RATE // 8, np.float32)
    keys = [
        np.concatenate([_tone(0.15, random.choice(_DTMF_LOW), random.choice(_DTMF_HIGH)), pause])
        for _ in range(int(seconds * 4))
    ]
    return np.resize(np.concatenate(keys), int(seconds * SAMPLE_RATE))


def _music(seconds: float, random: np.random.Generator) -> Samples:
    """Hold music: chords with overtones, each note fading."""
    notes = []
    for _ in range(int(seconds * 2) + 1):
        root = 220 * 2 ** (random.integers(0, 24) / 12)
        chord = _tone(0.5, root, root * 1.26, root * 1.5, root * 2) + 0.4 * _tone(0.5, root * 3, root * 4)
        notes.append(chord * np.exp(-3 * np.linspace(0, 1, chord.size)))
    return np.concatenate(notes)[: int(seconds * SAMPLE_RATE)].astype(np.float32)


def _breath(seconds: float, random: np.random.Generator) -> Samples:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (coloured_noise(time.size, 1.0, random) * np.maximum(0, np.sin(2 * np.pi * time / 3.5)) ** 2).astype(
        np.float32
    )


def _keyboard(seconds: float, random: np.random.Generator) -> Samples:
    sound = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    for begin in random.integers(0, max(1, sound.size - 400), int(seconds * 6)):
        sound[begin : begin + 400] += random.standard_normal(400) * np.exp(-np.arange(400) / 60)
    return sound


def _hum(seconds: float, random: np.random.Generator) -> Samples:
    return (_tone(seconds, 50, 100, 150) + 0.05 * coloured_noise(int(seconds * SAMPLE_RATE), 0, random)).astype(
        np.float32
    )


SOUNDS: dict[str, Callable[[float, np.random.Generator], Samples]] = {
    "silence": lambda seconds, _: np.zeros(int(seconds * SAMPLE_RATE), np.float32),
    "white noise": lambda seconds, random: coloured_noise(int(seconds * SAMPLE_RATE), 0, random),
    "pink noise": lambda seconds, random: coloured_noise(int(seconds * SAMPLE_RATE), 1, random),
    "hold music": _music,
    "ring-back": _ringback,
    "DTMF": _dtmf,
    "breathing": _breath,
    "keyboard": _keyboard,
    "hum": _hum,
}


def sound(name: str, seconds: float, level_db: float, random: np.random.Generator) -> Samples:
    """One of SOUNDS with its peak at `level_db` dBFS; silence stays digital silence."""
    samples = SOUNDS[name](seconds, random)
    peak = float(np.abs(samples).max())
    return (samples / peak * 10 ** (level_db / 20)).astype(np.float32) if peak else samples
