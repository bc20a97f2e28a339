"""Number -> that many short calls in a folder, no two alike but those that shall be; what of them is broken."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.benchmarks.long_calls import write_repeated

_CALLS = Path(__file__).parent.parent / "data" / "calls"
_RATE = 8000
_EVERY_TONE = 2  # every so manieth call holds tones instead of speech
_BROKEN_OF = 50  # one in so many
_TWICE_OF = 20

Sound = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Made:
    """How many files of each sort."""

    sound: int
    broken: int
    twice: int

    @property
    def all(self) -> int:
        return self.sound + self.broken + self.twice


def make_calls(folder: Path, count: int, shortest_s: float = 1.0, longest_s: float = 2.0) -> Made:
    """Of `count` files one in 50 is broken and one in 20 another's double. The same count makes the same files."""
    speech = list(_speech())
    random = np.random.default_rng(count)
    broken = count // _BROKEN_OF
    twice = count // _TWICE_OF
    first: bytes = b""
    for index in range(count - broken - twice):
        length = int(_RATE * random.uniform(shortest_s, longest_s))
        sound = _tone(random, length) if index % _EVERY_TONE else _piece(random, speech, length)
        ending, encode = _FORMATS[index // _EVERY_TONE % len(_FORMATS)]
        content = encode(sound)
        first = first or content
        _write(folder / f"{index // 1000:03d}" / f"call-{index:06d}.{ending}", content)
        if index < twice:
            _write(folder / "双份" / f"又是-{index:06d}.{ending}", content)
    for index in range(broken):
        _write(folder / "broken" / f"call-{index:06d}.wav", _BROKEN[index % len(_BROKEN)](first, index))
    return Made(count - broken - twice, broken, twice)


def make_long_call(path: Path, seconds: float) -> None:
    write_repeated(path, np.concatenate(list(_speech())), _RATE, seconds=seconds)


def make_demo_calls(folder: Path, count: int) -> None:
    """Whole demo calls; noise that nobody hears makes each a call of its own."""
    random = np.random.default_rng(count)
    speech = list(_speech())
    for index in range(count):
        sound = speech[index % len(speech)]
        _write(folder / f"call-{index:04d}.wav", _by_soundfile("WAV", "PCM_16")(_noisy(random, sound)))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _speech() -> Iterator[Sound]:
    for path in sorted(_CALLS.iterdir()):
        if path.suffix in (".ogg", ".mp3", ".wav"):
            sound, rate = soundfile.read(path, dtype="int16", always_2d=True)
            assert rate == _RATE, path
            yield sound[:, 0]


def _piece(random: np.random.Generator, speech: list[Sound], length: int) -> Sound:
    whole = speech[random.integers(len(speech))]
    begin = random.integers(len(whole) - length)
    return _noisy(random, whole[begin : begin + length])


def _noisy(random: np.random.Generator, sound: Sound) -> Sound:
    return np.clip(sound + random.integers(-2, 3, len(sound)), -32768, 32767).astype(np.int16)


def _tone(random: np.random.Generator, length: int) -> Sound:
    time_s = np.arange(length) / _RATE
    return (9000 * np.sin(2 * np.pi * random.uniform(200, 1200) * time_s)).astype(np.int16)


def _by_soundfile(container: str, subtype: str) -> Callable[[Sound], bytes]:
    def encode(sound: Sound) -> bytes:
        file = io.BytesIO()
        soundfile.write(file, sound, _RATE, format=container, subtype=subtype)
        return file.getvalue()

    return encode


def _by_av(container: str, codec: str, rate: int = _RATE) -> Callable[[Sound], bytes]:
    def encode(sound: Sound) -> bytes:
        file = io.BytesIO()
        with av.open(file, "w", format=container) as output:
            stream = output.add_stream(codec, rate=rate, layout="mono")
            frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            frame.rate, frame.time_base = _RATE, Fraction(1, _RATE)
            resampler = av.AudioResampler(stream.format, "mono", rate, frame_size=stream.frame_size or None)
            for ready in (*resampler.resample(frame), *resampler.resample(None)):
                output.mux(stream.encode(ready))
            output.mux(stream.encode(None))
        return file.getvalue()

    return encode


_FORMATS: tuple[tuple[str, Callable[[Sound], bytes]], ...] = (
    ("wav", _by_soundfile("WAV", "PCM_16")),
    ("wav", _by_soundfile("WAV", "ALAW")),
    ("wav", _by_soundfile("WAV", "ULAW")),
    ("mp3", _by_soundfile("MP3", "MPEG_LAYER_III")),
    ("opus", _by_av("ogg", "libopus", 48000)),
    ("amr", _by_av("amr", "libopencore_amrnb")),
    ("flac", _by_soundfile("FLAC", "PCM_16")),
    ("m4a", _by_av("ipod", "aac")),
)
_BROKEN: tuple[Callable[[bytes, int], bytes], ...] = (
    lambda _, index: b"",
    lambda _, index: b"<html>no sound %d</html>" % index,
    lambda whole, index: whole[: 20 + index % 20],  # within the header
    lambda _, index: np.random.default_rng(index).bytes(500),
)
