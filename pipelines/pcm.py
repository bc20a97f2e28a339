"""Frames of any rate -> raw 16-bit 16 kHz files, one per channel; of two channels with one signal, one counts."""

from collections.abc import Sequence
from io import RawIOBase

import numpy as np
import soxr
from numpy.typing import NDArray

from models.call import SAMPLE_RATE

SAMPLE_TYPE = np.dtype("<i2")  # half the disk of float32, and finer than any telephone codec
FULL_SCALE = 32_768

_RATES = range(1_000, 768_001)  # slower, and a small file would swell beyond measure
_GATHERED = 1 << 15  # frames resampled at once; codecs give as few as 160
_BLOCK = SAMPLE_RATE // 2  # half a second: even a short answer of the other speaker fills most of a block
_DIFFERS_ABOVE = 0.15  # residual over energy; AAC leaves 0.08 between equal channels, two speakers leave 0.9
_DIFFERING_BLOCKS = 0.01
_FAINT = 1e-2  # of the mean energy; below, codecs put noise of their own
_INAUDIBLE = _BLOCK * 1e-6  # energy of a block at -60 dBFS


class Refused(Exception):
    """No recording comes of it; `error` names a class of models.errors, `facts` are its arguments."""

    def __init__(self, error: str, *facts: str | float) -> None:
        super().__init__(error, *facts)
        self.error, self.facts = error, facts


class PcmWriter:
    """Push frames, then finish. Holds about a second of sound, however long the recording."""

    def __init__(self, outputs: Sequence[RawIOBase], longest_s: float) -> None:
        self._outputs = outputs
        self._longest_s = longest_s
        self._rate = 0
        self._channels = 0
        self._gathered: list[NDArray[np.float32]] = []
        self._gathered_frames = 0
        self._resampler: soxr.ResampleStream | None = None
        self._unwritten = np.empty((0, 0), np.float32)
        self._written = 0
        self._products: list[NDArray[np.float32]] = []

    @property
    def channels(self) -> int:
        """Channels of what was pushed; 0 before."""
        return self._channels

    def push(self, frames: NDArray[np.float32], rate: int) -> None:
        """Takes frames as rows and channels as columns."""
        if not self._channels:
            self._begin(frames.shape[1])
        if frames.shape[1] != self._channels:
            raise Refused("BrokenRecording", "its number of channels changes midway")
        if rate != self._rate:
            self._retune(rate)
        self._gathered.append(frames)
        self._gathered_frames += len(frames)
        if self._gathered_frames >= _GATHERED:
            self._resample()

    def finish(self) -> list[int]:
        """Which outputs hold the recording's distinct channels, in order; empty when there was no sound."""
        if self._channels:
            self._resample(last=True)
            self._write(final=True)
        if not self._written:
            return []
        if self._channels == 1:
            return [0]
        kept = one_of_two(np.concatenate(self._products))
        return [0, 1] if kept is None else [kept]

    def _begin(self, channels: int) -> None:
        if channels > len(self._outputs):
            raise Refused("TooManyChannels", channels)
        self._channels = channels
        self._unwritten = np.empty((0, channels), np.float32)

    def _retune(self, rate: int) -> None:
        if rate not in _RATES:
            raise Refused("BrokenRecording", f"its sample rate is {rate} Hz")
        self._resample(last=True)
        self._rate = rate
        self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, self._channels) if rate != SAMPLE_RATE else None

    def _resample(self, last: bool = False) -> None:
        frames = np.concatenate([np.empty((0, self._channels), np.float32), *self._gathered])
        frames = np.clip(np.nan_to_num(frames), -1, 1)  # float files may hold anything
        self._gathered, self._gathered_frames = [], 0
        for start in range(0, len(frames), _GATHERED):
            self._queue(self._resampled(frames[start : start + _GATHERED]))
        if last:
            self._queue(self._resampled(frames[:0], last=True))

    def _resampled(self, frames: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        return frames if self._resampler is None else self._resampler.resample_chunk(frames, last)

    def _queue(self, sound: NDArray[np.float32]) -> None:
        self._unwritten = np.concatenate([self._unwritten, sound])
        if self._written + len(self._unwritten) > self._longest_s * SAMPLE_RATE:
            raise Refused("TooLong", self._longest_s)
        self._write()

    def _write(self, final: bool = False) -> None:
        """Writes whole blocks, so that the two channels can be compared block by block."""
        length = len(self._unwritten)
        whole = length if final else length - length % _BLOCK
        sound, self._unwritten = self._unwritten[:whole], self._unwritten[whole:]
        pcm = np.clip(np.rint(sound * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(SAMPLE_TYPE)
        for channel in range(self._channels):
            _write_all(self._outputs[channel], pcm[:, channel].tobytes())
        self._written += whole
        if self._channels == 2 and whole:
            padded = np.pad(sound, ((0, -whole % _BLOCK), (0, 0))).reshape(-1, _BLOCK, 2)
            self._products.append(padded.transpose(0, 2, 1) @ padded)


def one_of_two(products: NDArray[np.float32]) -> int | None:
    """The louder of two channels if they carry the same signal up to a constant gain, else None.

    `products` holds each block's [[LL, LR], [LR, RR]]. It goes block by block, because over a whole call
    loud music on both channels would hide two people who then speak on one each.
    """
    total = products.sum(axis=0, dtype=np.float64)
    quiet = np.diag(total) <= _INAUDIBLE * len(products)
    if quiet[0] != quiet[1]:
        return None
    louder = int(total[1, 1] > total[0, 0])
    other = 1 - louder
    if not total[other, other]:
        return None if total[louder, louder] else louder
    gain = total[0, 1] / total[louder, louder]
    energy = products[:, other, other]
    residual = energy - 2 * gain * products[:, 0, 1] + gain**2 * products[:, louder, louder]
    sounding = energy > _FAINT * energy.mean()
    differing = np.count_nonzero(residual[sounding] > _DIFFERS_ABOVE * energy[sounding])
    return louder if differing <= _DIFFERING_BLOCKS * np.count_nonzero(sounding) else None


def _write_all(output: RawIOBase, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[output.write(rest) or 0 :]
