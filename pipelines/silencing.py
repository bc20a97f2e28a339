"""Recording and stretches of it -> the same with the stretches silent and all else where it was, also as WAV file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
from numpy.typing import NDArray

from models.call import SAMPLE_RATE, Channel, Recording, Samples
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


def silenced(recording: Recording, stretches: Sequence[Stretch], silencing: Silencing = Silencing()) -> Recording:
    """The same recording with silence in place of the stretches, read as lazily as itself."""
    channels = tuple(
        Channel(
            channel.index,
            _Silenced(
                channel.samples,
                tuple(
                    (
                        max(0, int((stretch.start - silencing.margin_s) * SAMPLE_RATE)),
                        int((stretch.end + silencing.margin_s) * SAMPLE_RATE),
                    )
                    for stretch in stretches
                    if stretch.channel == channel.index
                ),
            ),
        )
        for channel in recording.channels
    )
    return replace(recording, channels=channels)


def write_silenced(
    recording: Recording, stretches: Sequence[Stretch], file: IO[bytes], silencing: Silencing = Silencing()
) -> None:
    """16-bit PCM at 16 kHz, with the recording's channels in order; in bounded memory."""
    quiet = silenced(recording, stretches, silencing)
    length = max(len(channel.samples) for channel in quiet.channels)
    with open_wav(file, len(quiet.channels)) as out:
        for begin in range(0, length, _BLOCK):
            out.writeframesraw(as_pcm(frames_between(quiet, begin, min(length, begin + _BLOCK))))


@dataclass(frozen=True, slots=True)
class _Silenced:
    """Samples, of which spans are silent: first and last, not included."""

    samples: Samples
    spans: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        block = np.array(self.samples.read(start, stop))
        for first, last in self.spans:
            block[max(0, first - start) : max(0, last - start)] = 0.0
        return block
