"""Demo call -> the same call again and again, as one recording of any length."""

import sys
from pathlib import Path

import soundfile

_DEMO = Path(__file__).parent.parent / "data" / "calls" / "fake-police.mp3"


def write_long_call(folder: Path, seconds: float) -> Path:
    """A mono 16-bit WAV of exactly so many seconds, written piece by piece."""
    path = folder / f"{seconds:.0f}s.wav"
    sound, rate = soundfile.read(_DEMO, dtype="int16")
    missing = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16") as file:
        while missing > 0:
            file.write(sound[:missing])
            missing -= len(sound)
    return path


if __name__ == "__main__":
    print(write_long_call(Path(sys.argv[1]), float(sys.argv[2])))
