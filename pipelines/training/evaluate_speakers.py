"""Calls with known speakers -> how well voices are told apart, and how often the role is right."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps
from numpy.typing import NDArray

from models.call import SAMPLE_RATE, Recording, Segment, Speaker, Word
from models.speakers import Separation
from pipelines.decode import decode
from pipelines.report import UtterancePart
from pipelines.score import Engine, judge, score
from pipelines.training.in_memory import channel_of, recording_of
from pipelines.training.speaker_calls import Turn, human_calls
from pipelines.training.telephone import Samples
from pipelines.voices import cut_by_voice

_FRAMES = 100  # a second
_WORD_S = 0.2  # of the words made up where none are recognised


@dataclass(frozen=True, slots=True)
class Scoring:
    human_calls: int = 12
    seed: int = 0
    collar_s: float = 0.25  # around each turn's ends that counts for nothing, as is usual


@dataclass(frozen=True, slots=True)
class Diarization:
    """Seconds of truth and of what is wrong in them; overlap in the truth counts for both speakers."""

    speech_s: float
    missed_s: float
    false_s: float
    confused_s: float

    @property
    def error_rate(self) -> float:
        return (self.missed_s + self.false_s + self.confused_s) / self.speech_s if self.speech_s else 0.0


@dataclass(frozen=True, slots=True)
class CallFigures:
    """Of one call. `right_…` and `unknown_heard` are shares of the true turns that an utterance overlaps, as
    `right_roles` counts them; None: the call has no roles.
    """

    name: str
    channels: int  # of the recording as scored
    diarization: Diarization | None  # None: speakers have a channel each
    right_read: float | None  # from perfect transcripts
    right_heard: float | None  # from sound
    unknown_heard: float | None  # whose speaker stays unknown


def measure(
    engine: Engine, calls: Path, reference: Path | None = None, scoring: Scoring | None = None
) -> Iterator[CallFigures]:
    """Calls as they are and mixed down to one channel, then calls of human speakers if there is reference data.

    `calls`: folder of scripts with recordings beside them. The engine must tell speakers apart.
    """
    chosen = scoring or Scoring()
    separation = engine.separation
    if separation is None:
        raise ValueError("CALLAUDIT_SPEAKERS=off tells no speakers apart; choose another way to measure")
    for script in sorted(calls.glob("*.json")):
        truth = json.loads(script.read_text("utf8"))
        turns = [Turn(int(u["speaker"] != "collector"), u["start"], u["end"], u["text"]) for u in truth["utterances"]]
        with decode(script.with_name(truth["recording"])) as recording:
            if len(recording.channels) == 2:
                segments = _read(turns, [turn.speaker for turn in turns], truth["collector_channel"])
                yield CallFigures(script.stem, 2, None, *_roles(recording, segments, turns, engine))
            length = min(len(channel.samples) for channel in recording.channels)
            mixed = np.mean([channel.samples.read(0, length) for channel in recording.channels], axis=0)
        mono = recording_of(mixed.astype(np.float32))
        segments = {0: [_segment(turn) for turn in turns]}
        found = diarization(mixed.astype(np.float32), turns, separation, chosen.collar_s)
        yield CallFigures(f"{script.stem}, one channel", 1, found, *_roles(mono, segments, turns, engine))
    if reference is not None:
        for call in human_calls(reference, chosen.human_calls, chosen.seed):
            found = diarization(call.samples, call.turns, separation, chosen.collar_s)
            yield CallFigures(call.name, 1, found, None, None, None)


def diarization(samples: Samples, turns: Sequence[Turn], separation: Separation, collar_s: float) -> Diarization:
    """Of voices found without recognising words."""
    options = VadOptions(speech_pad_ms=0, min_silence_duration_ms=250, max_speech_duration_s=29)
    speech = [(v["start"] / SAMPLE_RATE, v["end"] / SAMPLE_RATE) for v in get_speech_timestamps(samples, options)]
    voiced = separation(channel_of(samples), speech)
    segments = [_wordless(start, end) for start, end in speech]
    found = [(s.start, s.end, int(odds > 0)) for s, odds in cut_by_voice(segments, voiced)]
    return compare([(t.start, t.end, t.speaker) for t in turns], found, samples.size / SAMPLE_RATE, collar_s)


def compare(
    truth: Sequence[tuple[float, float, int]],
    found: Sequence[tuple[float, float, int]],
    duration_s: float,
    collar_s: float,
) -> Diarization:
    """Both are (start, end, voice 0 or 1); found voices are matched with true ones so that the fewest are wrong."""
    frames = int(np.ceil(duration_s * _FRAMES)) + 1
    true, got = _sounding(truth, frames), _sounding(found, frames)
    counted = np.ones(frames, bool)
    for start, end, _ in truth:
        for edge in (start, end):
            counted[max(0, round((edge - collar_s) * _FRAMES)) : round((edge + collar_s) * _FRAMES)] = False
    true, got = true[:, counted], got[:, counted]
    speaking, heard = true.sum(axis=0), got.sum(axis=0)
    both = np.minimum(speaking, heard)
    right = max(int((true & voices).sum()) for voices in (got, got[::-1]))
    return Diarization(
        speech_s=float(speaking.sum()) / _FRAMES,
        missed_s=float(np.maximum(0, speaking - heard).sum()) / _FRAMES,
        false_s=float(np.maximum(0, heard - speaking).sum()) / _FRAMES,
        confused_s=float(both.sum() - right) / _FRAMES,
    )


def right_roles(turns: Sequence[Turn], utterances: Sequence[UtterancePart]) -> tuple[float, float]:
    """Shares of turns whose role is right and of those whose speaker is unknown, each by the utterance that overlaps
    it most; a turn that nothing overlaps counts for neither.
    """
    right = unknown = heard = 0
    for turn in turns:
        nearest = max(utterances, key=lambda u: min(u.end, turn.end) - max(u.start, turn.start), default=None)
        if nearest is None or min(nearest.end, turn.end) <= max(nearest.start, turn.start):
            continue
        heard += 1
        right += nearest.speaker is (Speaker.BORROWER if turn.speaker else Speaker.COLLECTOR)
        unknown += nearest.speaker is Speaker.UNKNOWN
    return (right / heard, unknown / heard) if heard else (0.0, 0.0)


def _roles(
    recording: Recording, segments: dict[int, list[Segment]], turns: Sequence[Turn], engine: Engine
) -> tuple[float, float, float]:
    read = right_roles(turns, judge(recording, segments, engine).utterances)
    heard = right_roles(turns, score(recording, engine).utterances)
    return read[0], heard[0], heard[1]


def _read(turns: Sequence[Turn], sides: Sequence[int], collector_channel: int) -> dict[int, list[Segment]]:
    segments: dict[int, list[Segment]] = {0: [], 1: []}
    for turn, side in zip(turns, sides, strict=True):
        segments[collector_channel if side == 0 else 1 - collector_channel].append(_segment(turn))
    return segments


def _segment(turn: Turn) -> Segment:
    """As a recogniser without fault would have it, its words spread evenly."""
    each = (turn.end - turn.start) / len(turn.text)
    words = tuple(
        Word(turn.start + each * i, turn.start + each * (i + 1), character, 1.0)
        for i, character in enumerate(turn.text)
    )
    return Segment(turn.start, turn.end, words, 0.0, 0.0, 1.0, (turn.start, turn.end))


def _wordless(start: float, end: float) -> Segment:
    edges = np.linspace(start, end, max(2, round((end - start) / _WORD_S) + 1)).tolist()
    words = tuple(Word(a, b, "·", 1.0) for a, b in pairwise(edges))
    return Segment(start, end, words, 0.0, 0.0, 1.0, (start, end))


def _sounding(spans: Sequence[tuple[float, float, int]], frames: int) -> NDArray[np.bool_]:
    """(2, frames)"""
    sounding = np.zeros((2, frames), bool)
    for start, end, voice in spans:
        sounding[voice, round(start * _FRAMES) : round(end * _FRAMES)] = True
    return sounding
