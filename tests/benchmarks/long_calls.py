"""Demo call -> the same call again and again, as one recording of any length."""

import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

_CALLS = Path(__file__).parent.parent / "data" / "calls"
_DEMOS = {1: _CALLS / "fake-police.mp3", 2: _CALLS / "shop-owner-visits.ogg"}  # by their channels


def write_long_call(folder: Path, seconds: float, channels: int = 1) -> Path:
    """A 16-bit WAV of exactly so many seconds; of two channels, each speaker has one."""
    path = folder / f"{seconds:.0f}s-{channels}.wav"
    write_repeated(path, *soundfile.read(_DEMOS[channels], dtype="int16"), seconds=seconds)
    return path


def write_repeated(path: Path, sound: NDArray[np.int16], rate: int, *, seconds: float, subtype: str = "PCM_16") -> None:
    """`sound`: (samples,) or (samples, channels). Written piece by piece, so that it takes no memory."""
    missing = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1 if sound.ndim == 1 else sound.shape[1], subtype=subtype) as file:
        while missing > 0:
            file.write(sound[:missing])
            missing -= len(sound)


if __name__ == "__main__":
    print(write_long_call(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
