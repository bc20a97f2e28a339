"""Clean speech -> speech as a telephone recording has it: band, codec, noise, level, room."""

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt

SAMPLE_RATE = 16_000

Samples = NDArray[np.float32]


def degrade(speech: Samples, random: np.random.Generator, noise: Samples | None = None) -> Samples:
    """One random telephone path; most recordings of calls are 8 kHz, some come from apps in full band.

    `noise` is other speech for babble, at least as long as `speech`, or None for coloured noise only.
    """
    if random.random() < 0.2:
        speech = _room(speech, random)
    if random.random() < 0.6:
        speech = _add_noise(speech, random, noise)
    if random.random() < 0.75:
        speech = _telephone_band(speech, random)
    if random.random() < 0.1:
        peak = float(np.abs(speech).max()) or 1.0
        speech = np.clip(speech, -0.4 * peak, 0.4 * peak)
    gain = 10 ** (random.uniform(-25, 0) / 20)
    return (speech / (np.abs(speech).max() + 1e-6) * gain).astype(np.float32)


def coloured_noise(length: int, exponent: float, random: np.random.Generator) -> Samples:
    """Unit-variance noise whose power falls with frequency**exponent: 0 white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(random.standard_normal(length))
    spectrum[1:] /= np.arange(1, spectrum.size) ** (exponent / 2)
    noise = np.fft.irfft(spectrum, length)
    return (noise / (noise.std() + 1e-9)).astype(np.float32)


def companded(samples: Samples, law: str) -> Samples:
    """8-bit µ-law or A-law quantisation (ITU-T G.711) of samples in [-1, 1]."""
    magnitude = np.abs(samples)
    if law == "mu":
        coded = np.round(np.log1p(255 * magnitude) / np.log(256) * 127) / 127
        decoded = np.expm1(coded * np.log(256)) / 255
    else:
        a = 87.6
        scale = 1 + np.log(a)
        coded = np.where(magnitude < 1 / a, a * magnitude / scale, (1 + np.log(np.maximum(a * magnitude, 1))) / scale)
        coded = np.round(coded * 127) / 127
        decoded = np.where(coded < 1 / scale, coded * scale / a, np.exp(coded * scale - 1) / a)
    return (np.sign(samples) * decoded).astype(np.float32)


def _telephone_band(speech: Samples, random: np.random.Generator) -> Samples:
    narrow = soxr.resample(speech, SAMPLE_RATE, 8_000, quality="LQ")
    if random.random() < 0.7:
        band = butter(2, [random.uniform(150, 320), random.uniform(3_200, 3_700)], "band", fs=8_000, output="sos")
        narrow = sosfilt(band, narrow)
    narrow = narrow / (np.abs(narrow).max() + 1e-6) * random.uniform(0.1, 0.9)
    if random.random() < 0.5:
        narrow = companded(narrow.astype(np.float32), "mu" if random.random() < 0.5 else "a")
    return np.asarray(soxr.resample(narrow, 8_000, SAMPLE_RATE, quality="LQ"), np.float32)


def _add_noise(speech: Samples, random: np.random.Generator, babble: Samples | None) -> Samples:
    if babble is not None and random.random() < 0.3:
        noise = babble[: speech.size] / (babble[: speech.size].std() + 1e-6)
    else:
        noise = coloured_noise(speech.size, random.choice([0.0, 1.0, 2.0]), random)
    ratio = 10 ** (-random.uniform(8, 35) / 20)
    return (speech + noise * speech.std() * ratio).astype(np.float32)


def _room(speech: Samples, random: np.random.Generator) -> Samples:
    decay = random.uniform(0.05, 0.25)  # seconds to fall by 60 dB
    length = int(decay * SAMPLE_RATE)
    echo = random.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    echo *= random.uniform(0.1, 0.4) / np.sqrt((echo**2).sum())
    echo[0] = 1.0
    return fftconvolve(speech, echo)[: speech.size].astype(np.float32)
