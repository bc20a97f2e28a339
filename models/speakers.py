"""A channel in which two people speak -> which voice speaks when, and how surely."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models.call import SAMPLE_RATE, Channel
from models.onnx_model import OnnxModel
from models.weights import Weights, find_weights

_SETTING = "CALLAUDIT_SPEAKERS"
_BATCH = 32  # windows; the fastest of 1 to 64
MELS = 40
WIDTH = 256  # of an embedding
WINDOW_FRAMES = 160  # what the encoder was trained on
ODDS_S = WINDOW_FRAMES / 100  # the length of speech that log-odds are told for
_HOP = SAMPLE_RATE // 100
_FFT = 400
_ITERATIONS = 30
_LEAST_STRETCHES = 2
_STARTS = 3  # directions along which two clusters are looked for

Vectors = NDArray[np.float32]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Voiced:
    """A stretch of speech and its voice; stretches of one channel may overlap and count together."""

    start: float  # seconds from the start of the recording
    end: float
    log_odds: float  # natural, for 1.6 s, that voice 1 speaks rather than voice 0


class Separation(Protocol):
    """Two voices of a channel told apart within the given spans of speech; empty where only one is heard."""

    @property
    def weights(self) -> Weights: ...

    def __call__(self, channel: Channel, speech: Sequence[Span]) -> list[Voiced]: ...


@dataclass(frozen=True, slots=True)
class Clustering:
    """How embeddings become two voices."""

    step_s: float = 0.8  # between windows of 1.6 s
    least_level_dbfs: float = -30.0  # quieter speech is raised to it, as the encoder was trained
    closest: float = 0.9  # cosine of the means above which both are one voice; two people had 0.72-0.89, one 0.88-0.97
    least_share: float = 0.04  # of all speech; less is no voice
    odds_per_cosine: float = 20.0  # natural log-odds for a difference of 1 in cosine


class Embeddings:
    """The bundled speaker encoder with two-means clustering; safe to share between threads."""

    def __init__(self, model: str = "bundled/speakers", threads: int = 0, clustering: Clustering | None = None) -> None:
        """Raises ModelNotFound."""
        self.weights = find_weights(_SETTING, model, ("encoder.onnx",))
        self._clustering = clustering or Clustering()
        self._encoder = OnnxModel(self.weights.folder / "encoder.onnx", _SETTING, model, threads)

    def __call__(self, channel: Channel, speech: Sequence[Span]) -> list[Voiced]:
        """Clusters whole stretches, which mostly have one voice, and judges windows by what was found."""
        chosen = self._clustering
        windows = [window for span in speech for window in _windows(span, chosen.step_s)]
        if len(speech) < _LEAST_STRETCHES:
            return []
        owners = np.array([index for index, span in enumerate(speech) for _ in _windows(span, chosen.step_s)])
        vectors = self.embed(channel, windows)
        weights = np.array([end - start for start, end in windows], np.float32)
        sums = np.zeros((len(speech), WIDTH), np.float32)
        np.add.at(sums, owners, vectors * weights[:, np.newaxis])
        stretches = sums / (np.linalg.norm(sums, axis=1, keepdims=True) + 1e-9)
        seconds = np.array([end - start for start, end in speech], np.float32)
        means = two_means(stretches, seconds)
        towards_second = means[1] - means[0]
        share = float(seconds[stretches @ towards_second > 0].sum() / seconds.sum())
        if float(means[0] @ means[1]) > chosen.closest or not chosen.least_share < share < 1 - chosen.least_share:
            return []
        return [
            Voiced(start, end, float(odds) * chosen.odds_per_cosine)
            for (start, end), odds in zip(windows, vectors @ towards_second, strict=True)
        ]

    def embed(self, channel: Channel, windows: Sequence[Span]) -> Vectors:
        """(windows, WIDTH), unit vectors; of each window at most 1.6 s count."""
        batches = [windows[begin : begin + _BATCH] for begin in range(0, len(windows), _BATCH)]

        def mels(batch: Sequence[Span]) -> dict[str, NDArray[np.float32]]:
            return {"mel": np.stack([self._mel(channel, window) for window in batch])}

        return np.concatenate([np.zeros((0, WIDTH), np.float32), *self._encoder.map(mels, batches)])

    def _mel(self, channel: Channel, window: Span) -> NDArray[np.float32]:
        start, end = (round(at * SAMPLE_RATE) for at in window)
        sound = channel.samples.read(start, min(end, start + WINDOW_FRAMES * _HOP))
        level = float(np.sqrt(np.mean(np.square(sound)))) if sound.size else 0.0
        wanted = 10 ** (self._clustering.least_level_dbfs / 20)
        if 0 < level < wanted:
            sound = sound * np.float32(wanted / level)
        mel = np.zeros((WINDOW_FRAMES, MELS), np.float32)
        frames = mel_power(sound)[:WINDOW_FRAMES]
        mel[: len(frames)] = frames
        return mel


def mel_power(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """(frames, MELS) mel power, not its logarithm, at 100 frames a second; centred, with silence around."""
    padded = np.pad(sound, _FFT // 2)
    frames = sliding_window_view(padded, _FFT)[::_HOP]
    power = np.abs(np.fft.rfft(frames * _HANN, axis=1)) ** 2
    mel: NDArray[np.float32] = (power @ _FILTERS.T).astype(np.float32)
    return mel


def two_means(vectors: Vectors, weights: NDArray[np.float32]) -> Vectors:
    """(2, width): unit means of two clusters of unit vectors, by cosine, deterministic."""
    centred = vectors - np.average(vectors, axis=0, weights=weights)
    axes = np.linalg.svd(centred * np.sqrt(weights)[:, np.newaxis], full_matrices=False)[2][:_STARTS]
    found = [_settled(vectors, weights, centred @ axis > 0) for axis in axes]
    return max(found, key=lambda means: float((vectors @ means.T).max(axis=1) @ weights))


def _settled(vectors: Vectors, weights: NDArray[np.float32], second: NDArray[np.bool_]) -> Vectors:
    means = np.zeros((2, vectors.shape[1]), np.float32)
    for _ in range(_ITERATIONS):
        for voice in (0, 1):
            mean = vectors.T @ (weights * (second == voice))
            means[voice] = mean / (np.linalg.norm(mean) + 1e-9)
        nearer = vectors @ (means[1] - means[0]) > 0
        if np.array_equal(nearer, second):
            break
        second = nearer
    return means


def _windows(span: Span, step_s: float) -> Iterator[Span]:
    """Windows of 1.6 s over a span, the last one at its end; a shorter span is one window."""
    start, end = span
    length = WINDOW_FRAMES / 100
    if end - start <= length:
        yield span
        return
    steps = int(np.ceil((end - start - length) / step_s))
    for step in range(steps + 1):
        at = start + (end - start - length) * step / steps
        yield at, at + length


_HANN = np.hanning(_FFT + 1)[:-1].astype(np.float32)
_FILTERS = FeatureExtractor.get_mel_filters(SAMPLE_RATE, _FFT, MELS).astype(np.float32)
