"""A recording's sound -> WAV: 16-bit PCM at 16 kHz, its channels in order."""

import wave
from typing import IO

import numpy as np
from numpy.typing import NDArray

from models.call import SAMPLE_RATE, Recording
from pipelines.pcm import SAMPLE_TYPE

_FULL_SCALE = 32_767

Frames = NDArray[np.float32]  # (samples, channels) in [-1, 1]


def open_wav(file: IO[bytes], channels: int) -> wave.Wave_write:
    """To be closed, or used as a context."""
    out = wave.open(file, "wb")  # noqa: SIM115 - the caller closes it
    out.setnchannels(channels)
    out.setsampwidth(SAMPLE_TYPE.itemsize)
    out.setframerate(SAMPLE_RATE)
    return out


def frames_between(recording: Recording, begin: int, end: int) -> Frames:
    """Samples `begin` to `end` of all channels; zeros where one has ended."""
    frames = np.zeros((max(0, end - begin), len(recording.channels)), np.float32)
    for place, channel in enumerate(recording.channels):
        samples = channel.samples.read(begin, end)
        frames[: len(samples), place] = samples
    return frames


def as_pcm(frames: Frames) -> bytes:
    return np.round(np.clip(frames, -1, 1) * _FULL_SCALE).astype(SAMPLE_TYPE).tobytes()
