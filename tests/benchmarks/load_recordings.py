"""Number -> a short recording that no other number has: seconds of a demo call under its own faint noise."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

_CALLS = Path(__file__).parent.parent / "data" / "calls"
_NAMES = ("late-first-job", "shop-owner-visits", "angry-borrower", "contact-list-calls")
_NOISE = 1e-3  # of full scale: another file, and the same words


def short_recording(number: int, seconds: float) -> bytes:
    """A WAV file of 16 bits."""
    noise = np.random.default_rng(number)
    sound, rate = _demo_call(_NAMES[number % len(_NAMES)])
    length = round(seconds * rate)
    start = int(noise.integers(len(sound) - length))
    cut = sound[start : start + length]
    file = io.BytesIO()
    soundfile.write(file, cut + _NOISE * noise.standard_normal(cut.shape), rate, "PCM_16", format="WAV")
    return file.getvalue()


@cache
def _demo_call(name: str) -> tuple[NDArray[np.float64], int]:
    sound, rate = soundfile.read(_CALLS / f"{name}.ogg")
    return sound, rate
