"""Utterances -> how the call was led: who talks how long, how fast and loud, who interrupts whom."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from models.call import Speaker, Utterance
from pipelines.characters import characters

_Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Noticing:
    """What is remarkable."""

    interruption_above_s: float = 0.5  # of overlap
    raised_above_db: float = 6.0  # over the speaker's own median level in the channel
    least_utterances: int = 5  # of a speaker, for a median that says something


@dataclass(frozen=True, slots=True)
class Part:
    """What one speaker had in the conversation; a speaker who is not known has one part a channel."""

    speaker: Speaker
    channel: int
    talk_s: float
    silent_s: float
    interruptions: int  # of others, by this speaker
    characters_a_second: float
    median_level_dbfs: float | None
    raised: int  # utterances in a raised voice


@dataclass(frozen=True, slots=True)
class Manner:
    """How one utterance was said."""

    characters_a_second: float
    raised_voice: bool


def manners(utterances: Sequence[Utterance], noticing: Noticing | None = None) -> list[Manner]:
    """One an utterance. Loudness is compared within a channel only: lines differ by more than voices do."""
    chosen = noticing or Noticing()
    raised = _raised(utterances, _usual_levels(utterances, chosen), chosen)
    return [Manner(_rate([said]), loud) for said, loud in zip(utterances, raised, strict=True)]


def parts(utterances: Sequence[Utterance], duration_s: float, noticing: Noticing | None = None) -> list[Part]:
    """In order of first speech."""
    chosen = noticing or Noticing()
    usual = _usual_levels(utterances, chosen)
    raised = _raised(utterances, usual, chosen)
    interrupting = _interrupting(utterances, chosen.interruption_above_s)
    found = []
    for who in dict.fromkeys(_who(said) for said in utterances):
        own = [index for index, said in enumerate(utterances) if _who(said) == who]
        said = [utterances[index] for index in own]
        talk = together((u.start, u.end) for u in said)
        levels = [level for u in said if (level := _level(u)) is not None]
        found.append(
            Part(
                speaker=who[0],
                channel=who[1],
                talk_s=talk,
                silent_s=max(0.0, duration_s - talk),
                interruptions=sum(index in interrupting for index in own),
                characters_a_second=_rate(said),
                median_level_dbfs=usual.get(who, median(levels) if levels else None),
                raised=sum(raised[index] for index in own),
            )
        )
    return found


def together(spans: Iterable[_Span]) -> float:
    """Seconds that the spans cover; where they overlap, once."""
    covered = reached = 0.0
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def _interrupting(utterances: Sequence[Utterance], above_s: float) -> set[int]:
    """Places of utterances that begin while another speaks and go on over that one."""
    order = sorted(range(len(utterances)), key=lambda index: utterances[index].start)
    found: set[int] = set()
    speaking: list[Utterance] = []
    for index in order:
        said = utterances[index]
        speaking = [other for other in speaking if other.end > said.start]
        if any(
            _who(other) != _who(said) and min(other.end, said.end) - said.start > above_s and other.start < said.start
            for other in speaking
        ):
            found.add(index)
        speaking.append(said)
    return found


def _usual_levels(utterances: Sequence[Utterance], noticing: Noticing) -> dict[tuple[Speaker, int], float]:
    levels: dict[tuple[Speaker, int], list[float]] = {}
    for said in utterances:
        if (level := _level(said)) is not None:
            levels.setdefault(_who(said), []).append(level)
    return {who: median(found) for who, found in levels.items() if len(found) >= noticing.least_utterances}


def _raised(
    utterances: Sequence[Utterance], usual: Mapping[tuple[Speaker, int], float], noticing: Noticing
) -> list[bool]:
    found = []
    for said in utterances:
        level, normal = _level(said), usual.get(_who(said))
        found.append(level is not None and normal is not None and level > normal + noticing.raised_above_db)
    return found


def _level(said: Utterance) -> float | None:
    return said.evidence.level_dbfs if said.evidence else None


def _rate(said: Sequence[Utterance]) -> float:
    seconds = sum(u.end - u.start for u in said)
    return sum(len(characters(u.text)) for u in said) / seconds if seconds > 0 else 0.0


def _who(said: Utterance) -> tuple[Speaker, int]:
    return said.speaker, said.channel
