"""Recording and stretches of it -> a WAV file in which the stretches are silent and all else is where it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from models.call import SAMPLE_RATE, Recording
from pipelines.wav import as_pcm, frames_between, open_wav

_BLOCK = 10 * SAMPLE_RATE


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
    length = max(len(channel.samples) for channel in recording.channels)
    with open_wav(file, len(recording.channels)) as out:
        for begin in range(0, length, _BLOCK):
            block = frames_between(recording, begin, min(length, begin + _BLOCK))
            for place, channel in enumerate(recording.channels):
                for stretch in stretches:
                    if stretch.channel == channel.index:
                        first = int((stretch.start - silencing.margin_s) * SAMPLE_RATE) - begin
                        last = int((stretch.end + silencing.margin_s) * SAMPLE_RATE) - begin
                        block[max(0, first) : max(0, last), place] = 0.0
            out.writeframesraw(as_pcm(block))
