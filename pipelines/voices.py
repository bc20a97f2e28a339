"""Segments of a channel with two voices -> segments of one voice each, cut between words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from models.call import Segment, Word
from models.speakers import ODDS_S, Voiced

_MARKS = "。？！?!；;，,、"


@dataclass(frozen=True, slots=True)
class Following:
    """What it costs, in natural log-odds, to hear the voice change between two words."""

    within: float = 7.0
    at_mark: float = 3.0
    at_pause: float = 2.0
    pause_s: float = 0.25


def cut_by_voice(
    segments: Sequence[Segment], voiced: Sequence[Voiced], following: Following | None = None
) -> Iterator[tuple[Segment, float]]:
    """Parts of the segments, and of each the natural log-odds that voice 1 says it.

    A short part, and one in which both voices sound, has odds near 0. Both inputs are in order of time.
    """
    chosen = following or Following()
    begin = 0
    for segment in segments:
        while begin < len(voiced) and voiced[begin].end <= segment.start:
            begin += 1
        odds = [_odds(word, voiced, begin) for word in segment.words]
        voices = _likeliest(segment.words, odds, chosen)
        bounds = [0, *(at for at in range(1, len(voices)) if voices[at] != voices[at - 1]), len(voices)]
        for first, last in pairwise(bounds):
            yield _part(segment, first, last), sum(odds[first:last])


def _odds(word: Word, voiced: Sequence[Voiced], begin: int) -> float:
    """Mean of the stretches that sound with the word, for the time that it lasts."""
    total = weight = 0.0
    for stretch in voiced[begin:]:
        if stretch.start >= word.end:
            break
        shared = min(word.end, stretch.end) - max(word.start, stretch.start)
        if shared > 0:
            total += shared * stretch.log_odds
            weight += shared
    return total / weight * (word.end - word.start) / ODDS_S if weight else 0.0


def _likeliest(words: Sequence[Word], odds: Sequence[float], following: Following) -> list[int]:
    """The voice of every word, by Viterbi's algorithm."""
    best = [0.0, 0.0]
    came_from: list[tuple[int, int]] = []
    for index, value in enumerate(odds):
        cost = _change_cost(words[index - 1], words[index], following) if index else 0.0
        origins = tuple(voice if best[voice] >= best[1 - voice] - cost else 1 - voice for voice in (0, 1))
        before = [best[origin] - (cost if origin != voice else 0.0) for voice, origin in enumerate(origins)]
        best = [before[0] - value / 2, before[1] + value / 2]
        came_from.append((origins[0], origins[1]))
    voice = int(best[1] > best[0])
    path = []
    for origins in reversed(came_from):
        path.append(voice)
        voice = origins[voice]
    return path[::-1]


def _change_cost(before: Word, after: Word, following: Following) -> float:
    if after.start - before.end >= following.pause_s:
        return following.at_pause
    return following.at_mark if before.text[-1:] in _MARKS else following.within


def _part(segment: Segment, first: int, last: int) -> Segment:
    words = segment.words[first:last]
    if len(words) == len(segment.words):
        return segment
    start = segment.start if first == 0 else words[0].start
    end = segment.end if last == len(segment.words) else words[-1].end
    voice = segment.voice and (max(start, segment.voice[0]), min(end, segment.voice[1]))
    return replace(segment, start=start, end=end, words=words, voice=voice)
