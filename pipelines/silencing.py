"""Recording and stretches of it -> a WAV file in which the stretches are silent and all else is where it was."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from models.call import SAMPLE_RATE, Recording
from pipelines.pcm import SAMPLE_TYPE

_BLOCK = 10 * SAMPLE_RATE
_FULL_SCALE = 32_767


@dataclass(frozen=True, slots=True)
class Stretch:
    channel: int
    start: float  # seconds from the start of the recording
    end: float


@dataclass(frozen=True, slots=True)
class Silencing:
    margin_s: float = 0.2  # word times are not exact, and half a digit is too much


def write_silenced(
    recording: Recording, stretches: Sequence[Stretch], file: IO[bytes], silencing: Silencing = Silencing()
) -> None:
    """16-bit PCM at 16 kHz, with the recording's channels in order; in bounded memory."""
    channels = recording.channels
    length = max(len(channel.samples) for channel in channels)
    with wave.open(file, "wb") as out:
        out.setnchannels(len(channels))
        out.setsampwidth(SAMPLE_TYPE.itemsize)
        out.setframerate(SAMPLE_RATE)
        for begin in range(0, length, _BLOCK):
            end = min(length, begin + _BLOCK)
            block = np.zeros((end - begin, len(channels)), np.float32)
            for place, channel in enumerate(channels):
                samples = channel.samples.read(begin, end)
                block[: len(samples), place] = samples
                for stretch in stretches:
                    if stretch.channel == channel.index:
                        first = int((stretch.start - silencing.margin_s) * SAMPLE_RATE) - begin
                        last = int((stretch.end + silencing.margin_s) * SAMPLE_RATE) - begin
                        block[max(0, first) : max(0, last), place] = 0.0
            pcm = np.round(np.clip(block, -1, 1) * _FULL_SCALE).astype(SAMPLE_TYPE)
            out.writeframesraw(pcm.tobytes())
