"""Chinese text -> speech with known words and times, through the espeak-ng library in-process."""

import ctypes
import ctypes.util
import re
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

# Two characters that every call is full of, where pypinyin's phrases leave them as they are read most often elsewhere:
# 还 to repay, not still; 得 must.
_READINGS = {
    "huan2": re.compile(
        r"还(?=[款钱清贷债本息掉完账帐上了的呢吗啊吧嘛多你我他她这那，。？！、]|[不得][上起了清完]|给|一(?:部|点|些|半|期)"
        r"|最低|[二三四五六七八九十两百千万]|$)(?!(?:你|我|他|她|这|那)(?!钱|个?月))|(?<=[归偿返退])还"
    ),
    "dei3": re.compile(r"(?<=[你我他她们就还都可总也又须])得(?![到出知])"),
}
HANZI = re.compile(r"[一-鿿]")
SYLLABLE = re.compile(r"[a-zê]+[1-5]")  # with its tone

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_WORD, _END = 1, 5


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True, slots=True)
class Voice:
    """One synthetic speaker; pitch and range in espeak's 0-99, rate in its words a minute."""

    variant: str
    pitch: int = 50
    intonation: int = 50
    rate: int = 175


@dataclass(frozen=True, slots=True)
class Speech:
    """Float32 samples in [-1, 1] at 16 kHz, silence at both ends removed, and what sounds when."""

    samples: NDArray[np.float32]
    syllables: tuple[str, ...]  # pinyin with tone number, one a Chinese character
    spans: NDArray[np.float32]  # (syllables, 2): start and end in seconds


class Synthesizer:
    """espeak-ng speaking Mandarin; one per process, for the library keeps global state."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise RuntimeError("espeak-ng is not installed: apt-get install libespeak-ng1 espeak-ng-data")
        self._library = ctypes.CDLL(name)
        self._rate = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, None, 0)
        self._chunks: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, int, int]] = []  # type, place in the text, sample
        self._callback = _Callback(self._collect)  # kept: ctypes does not own it
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(
        self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        number = 0
        while events[number].type:
            event = events[number]
            if event.type in {_WORD, _END}:
                self._events.append((event.type, event.text_position - 1, event.sample))
            number += 1
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: Voice) -> Speech:
        self._library.espeak_SetVoiceByName(f"cmn-latn-pinyin+{voice.variant}".encode())
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.intonation)):
            self._library.espeak_SetParameter(parameter, value, 0)
        parts = pinyin(text)
        spoken = " ".join(parts).encode()
        self._chunks, self._events = [], []
        self._library.espeak_Synth(spoken, len(spoken) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate([np.zeros(0, np.int16), *self._chunks]).astype(np.float32) / 32768
        loud = np.flatnonzero(np.abs(samples) > 0.005)
        if loud.size == 0:
            return Speech(np.zeros(0, np.float32), (), np.zeros((0, 2), np.float32))
        first, last = int(loud[0]), int(loud[-1]) + 1
        syllables, spans = self._timed(parts)
        resampled = soxr.resample(samples[first:last], self._rate, SAMPLE_RATE).astype(np.float32)
        seconds = np.clip(spans - first, 0, last - first) / self._rate
        return Speech(resampled, syllables, seconds.astype(np.float32))

    def _timed(self, parts: list[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Syllables whose start espeak reported, each lasting to the next event."""
        at, place = {}, 0
        for part in parts:
            at[place] = part
            place += len(part) + 1
        syllables, spans = [], []
        for (kind, position, sample), following in zip(self._events, [*self._events[1:], None], strict=True):
            part = at.get(position, "")
            if kind == _WORD and part[-1:].isdigit() and following is not None:
                syllables.append(part)
                spans.append((sample, following[2]))
        return tuple(syllables), np.array(spans, np.int64).reshape(-1, 2)


def pinyin(text: str) -> list[str]:
    """Pinyin with tone numbers and sandhi, marks between: espeak reads polyphones wrong."""
    parts = lazy_pinyin(text, style=Style.TONE3, neutral_tone_with_five=True, tone_sandhi=True)
    parts = [part.strip().replace("ü", "v") for part in parts]
    places = [place for place, part in enumerate(parts) if SYLLABLE.fullmatch(part)]
    hanzi = [match.start() for match in HANZI.finditer(text)]
    if len(places) == len(hanzi):
        for reading, where in _READINGS.items():
            for match in where.finditer(text):
                parts[places[hanzi.index(match.start())]] = reading
    return parts


def toneless(text: str) -> list[str]:
    """Its syllables in pinyin without tone numbers, marks between."""
    return [part.rstrip("12345") for part in pinyin(text)]
