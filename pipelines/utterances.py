"""Segments of all channels -> utterances in order of time, and which channel the collector speaks on."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from models.call import Evidence, Segment, Speaker, Utterance, Word
from models.simplified import simplified
from pipelines.characters import repetition

_SENTENCE_END = "。？！?!；;"
_CLAUSE_END = "，,、：:"
_LEAST_PROBABILITY = 1e-6
_MOST_LOG_ODDS = 50.0


@dataclass(frozen=True, slots=True)
class Splitting:
    """Where one utterance ends."""

    pause_s: float = 0.6
    longest: int = 80  # characters; a clause's end is looked for before, then the cut is hard
    shortest: int = 4  # a shorter sentence (喂？ 好。) stays with what follows without pause


@dataclass(frozen=True, slots=True)
class Roles:
    """When what is said tells the collector's side, a channel or a voice, from the other's."""

    surely_above: float = 2.0  # difference of summed log-odds
    most_per_utterance: float = 3.0  # one sentence alone shall not decide
    most_for_itself: float = 1.5  # log-odds that an utterance's own words add where its voice is in doubt
    known_above: float = 0.8  # probability of an utterance's role; below it, who speaks is unknown


def split(
    segments: Iterable[Segment],
    channel: int,
    splitting: Splitting | None = None,
    voice_log_odds: float | None = None,
) -> Iterator[Utterance]:
    """Utterances of one channel; their speaker is unknown as yet. `voice_log_odds`: of all these segments alike."""
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
                    text=simplified(marked),
                    raw_text=marked,
                    confidence=fmean(word.probability for word in words),
                    evidence=_evidence(segment, words, marked),
                    voice_log_odds=voice_log_odds,
                )


def assign_speakers(
    utterances: Sequence[Utterance],
    collector_odds: Sequence[float],
    channels: int,
    collector_channel: int | None = None,
    roles: Roles | None = None,
) -> list[Utterance]:
    """Whose side is the collector's, and so who says each utterance, with the probability of it.

    A side is a channel where two of them speak, else one of two voices told apart in the only one that does;
    where they were not, who speaks stays unknown. `collector_odds`: probability, of every utterance, that a collector
    says it. Where the sides differ too little in it and `collector_channel` is not given, it stays unknown too.
    """
    chosen = roles or Roles()
    if channels == 2 and collector_channel is not None:
        sides = (Speaker.BORROWER, Speaker.COLLECTOR)
        return [replace(u, speaker=sides[u.channel == collector_channel], speaker_confidence=1.0) for u in utterances]
    said = [_log_odds(p) for p in collector_odds]
    second = [_second_side(u, channels) for u in utterances]
    evidence = sum(
        max(-chosen.most_per_utterance, min(chosen.most_per_utterance, own)) * (2 * side - 1)
        for own, side in zip(said, second, strict=True)
        if side is not None
    )
    if abs(evidence) <= chosen.surely_above:
        return list(utterances)
    return [
        u if side is None else _in_role(u, side, own, evidence, chosen)
        for u, side, own in zip(utterances, second, said, strict=True)
    ]


def _second_side(utterance: Utterance, channels: int) -> float | None:
    """Probability that it is said on the second side; None: the sides are not told apart."""
    if utterance.voice_log_odds is not None:
        return _probability(utterance.voice_log_odds)
    return float(utterance.channel) if channels == 2 else None


def _in_role(utterance: Utterance, side: float, own: float, evidence: float, roles: Roles) -> Utterance:
    """The side's role, and what is said where the side is in doubt."""
    surely = _probability(evidence)  # that the second side is the collector's
    collector = side * surely + (1 - side) * (1 - surely)
    if utterance.voice_log_odds is not None:
        doubt = max(-roles.most_for_itself, min(roles.most_for_itself, own))
        collector = _probability(_log_odds(collector) + doubt)
    confidence = max(collector, 1 - collector)
    if confidence < roles.known_above:
        return utterance
    role = Speaker.COLLECTOR if collector > 0.5 else Speaker.BORROWER
    return replace(utterance, speaker=role, speaker_confidence=confidence)


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, _LEAST_PROBABILITY), 1 - _LEAST_PROBABILITY)
    return math.log(clipped / (1 - clipped))


def _probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(-_MOST_LOG_ODDS, min(_MOST_LOG_ODDS, log_odds))))


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


def _sentences(words: Sequence[Word], splitting: Splitting) -> Iterator[list[Word]]:
    sentence: list[Word] = []
    for word in words:
        if sentence and word.start - sentence[-1].end > splitting.pause_s:
            yield sentence
            sentence = []
        elif _length(sentence) + len(word.text) > splitting.longest:
            cut = _clause_end(sentence)
            yield sentence[:cut]
            sentence = sentence[cut:]
        sentence.append(word)
        if word.text[-1:] in _SENTENCE_END and _length(sentence) > splitting.shortest:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _length(words: Sequence[Word]) -> int:
    return sum(len(word.text) for word in words)


def _clause_end(words: Sequence[Word]) -> int:
    return next((i + 1 for i in reversed(range(len(words))) if words[i].text[-1:] in _CLAUSE_END), len(words))
