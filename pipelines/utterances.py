"""Segments of all channels -> utterances in order of time, and which channel the collector speaks on."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean

from opencc import OpenCC

from models.call import Evidence, Segment, Speaker, Utterance, Word
from pipelines.characters import repetition

_SENTENCE_END = "。？！?!；;"
_CLAUSE_END = "，,、：:"
_LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True, slots=True)
class Splitting:
    """Where one utterance ends."""

    pause_s: float = 0.6
    longest: int = 80  # characters; a clause's end is looked for before, then the cut is hard
    shortest: int = 4  # a shorter sentence (喂？ 好。) stays with what follows without pause


@dataclass(frozen=True, slots=True)
class Roles:
    """When what is said tells the collector's channel from the other's."""

    surely_above: float = 2.0  # difference of summed log-odds
    most_per_utterance: float = 3.0  # one sentence alone shall not decide


def split(segments: Iterable[Segment], channel: int, splitting: Splitting | None = None) -> Iterator[Utterance]:
    """Utterances of one channel; their speaker is unknown as yet."""
    for segment in segments:
        for words in _sentences(segment.words, splitting or Splitting()):
            raw = "".join(word.text for word in words).strip(_SENTENCE_END + _CLAUSE_END)
            if raw:
                marked = "".join(word.text for word in words).strip()
                yield Utterance(
                    channel=channel,
                    speaker=Speaker.UNKNOWN,
                    start=words[0].start,
                    end=words[-1].end,
                    text=_converter().convert(marked),
                    raw_text=marked,
                    confidence=fmean(word.probability for word in words),
                    evidence=_evidence(segment, words, marked),
                )


def assign_speakers(
    utterances: Sequence[Utterance],
    collector_odds: Sequence[float],
    channels: int,
    collector_channel: int | None = None,
    roles: Roles | None = None,
) -> list[Utterance]:
    """The channel is the speaker where there are two; a mono call carries both voices and stays unknown.

    `collector_odds`: probability, of every utterance, that a collector says it. Where the channels differ too
    little in it and `collector_channel` is not given, the speakers stay unknown too.
    """
    if channels != 2:
        return list(utterances)
    if collector_channel is None:
        collector_channel = _collector_channel(utterances, collector_odds, roles or Roles())
    if collector_channel is None:
        return list(utterances)
    return [
        replace(u, speaker=Speaker.COLLECTOR if u.channel == collector_channel else Speaker.BORROWER)
        for u in utterances
    ]


def _evidence(segment: Segment, words: Sequence[Word], text: str) -> Evidence:
    start, end = words[0].start, words[-1].end
    first, last = segment.voice or (segment.start, segment.end)
    heard = max(0.0, min(end, last) - max(start, first))
    return Evidence(
        mean_log_probability=fmean(math.log(max(word.probability, _LEAST_PROBABILITY)) for word in words),
        no_speech_probability=segment.no_speech_probability,
        compression_ratio=segment.compression_ratio,
        repetition=repetition(text),
        voice_overlap=heard / (end - start) if end > start else 0.0,
    )


def _collector_channel(utterances: Sequence[Utterance], odds: Sequence[float], roles: Roles) -> int | None:
    evidence = [0.0, 0.0]
    for utterance, probability in zip(utterances, odds, strict=True):
        clipped = min(max(probability, 1e-6), 1 - 1e-6)
        log_odds = math.log(clipped / (1 - clipped))
        evidence[utterance.channel] += max(-roles.most_per_utterance, min(roles.most_per_utterance, log_odds))
    if abs(evidence[0] - evidence[1]) <= roles.surely_above:
        return None
    return int(evidence[1] > evidence[0])


def _sentences(words: Sequence[Word], splitting: Splitting) -> Iterator[list[Word]]:
    sentence: list[Word] = []
    for word in words:
        length = sum(len(w.text) for w in sentence)
        if sentence and word.start - sentence[-1].end > splitting.pause_s:
            yield sentence
            sentence = []
        elif length + len(word.text) > splitting.longest:
            cut = _clause_end(sentence)
            yield sentence[:cut]
            sentence = sentence[cut:]
        sentence.append(word)
        if word.text[-1:] in _SENTENCE_END and length + len(word.text) > splitting.shortest:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _clause_end(words: Sequence[Word]) -> int:
    return next((i + 1 for i in reversed(range(len(words))) if words[i].text[-1:] in _CLAUSE_END), len(words))


@lru_cache(maxsize=1)
def _converter() -> OpenCC:
    return OpenCC("t2s")
