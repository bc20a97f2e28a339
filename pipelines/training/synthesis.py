"""Chinese text -> speech with known words, through the espeak-ng library in-process."""

import ctypes
import ctypes.util
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray
from pypinyin import Style, lazy_pinyin

SAMPLE_RATE = 16_000

# Variants that sound like people. Those in HELD_OUT speak only in tests, demo calls and evaluation.
_NAMES = """
    m1 m2 m3 m4 m6 m7 m8 f1 f2 f3 f5 Alex Alicia Andrea
    Annie Diogo Gene Henrique Hugo Lee Marco Mario Mike Nguyen adam anika antonio aunty
    belinda benjamin boris caleb david ed edward grandma grandpa iven iven3 kaukovalta klatt klatt3
    klatt4 marcelo max miguel norbert pablo paul pedro quincy robert sandro shelby steph2 travis
    victor zac
"""
VOICES = tuple(_NAMES.split())
HELD_OUT = ("f4", "m5", "linda", "john", "Michael", "steph", "Andy", "michel", "Gene2", "klatt2")

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Voice:
    """One synthetic speaker; pitch and range in espeak's 0-99, rate in its words a minute."""

    variant: str
    pitch: int = 50
    intonation: int = 50
    rate: int = 175


class Synthesizer:
    """espeak-ng speaking Mandarin; one per process, for the library keeps global state."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise RuntimeError("espeak-ng is not installed: apt-get install libespeak-ng1 espeak-ng-data")
        self._library = ctypes.CDLL(name)
        self._rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, None, 0)
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _Callback(self._collect)  # kept: ctypes does not own it
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: object) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: Voice) -> NDArray[np.float32]:
        """Float32 samples in [-1, 1] at 16 kHz, silence at both ends removed."""
        self._library.espeak_SetVoiceByName(f"cmn-latn-pinyin+{voice.variant}".encode())
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.intonation)):
            self._library.espeak_SetParameter(parameter, value, 0)
        spoken = pinyin_text(text).encode()
        self._chunks = []
        self._library.espeak_Synth(spoken, len(spoken) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._chunks:
            return np.zeros(0, np.float32)
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768
        loud = np.flatnonzero(np.abs(samples) > 0.005)
        if loud.size == 0:
            return np.zeros(0, np.float32)
        resampled: NDArray[np.float32] = soxr.resample(samples[loud[0] : loud[-1] + 1], self._rate, SAMPLE_RATE).astype(
            np.float32
        )
        return resampled


def pinyin_text(text: str) -> str:
    """Pinyin with tone numbers and sandhi: espeak reads polyphones wrong (还款 as hai2 kuan3)."""
    syllables = lazy_pinyin(text, style=Style.TONE3, neutral_tone_with_five=True, tone_sandhi=True)
    return " ".join(syllable.strip() for syllable in syllables).replace("ü", "v")
