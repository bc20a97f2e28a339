"""Utterances and their sound -> evidence that the words were said, and what to do where it is weak.

Whisper invents phrases where nobody speaks, some of them harmful (arXiv 2402.08021); such words must accuse nobody.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from models.call import SAMPLE_RATE, Channel, Evidence, Utterance
from pipelines.characters import characters

BOILERPLATE = Path(__file__).with_name("boilerplate.txt")  # phrases of video subtitles that Whisper says into silence
QUIETEST_DBFS = -120.0
UNKNOWN_SPEAKER = "who speaks is not known"
_UNCLEAR = "the words were not heard clearly"

Again = Callable[[Sequence[NDArray[np.float32]]], list[str]]  # sounds of at most 30 s to their texts


@dataclass(frozen=True, slots=True)
class Hearing:
    """When words are weakly evidenced. A flagged utterance to which one of these applies waits for a person."""

    confidence_below: float = 0.5  # mean word probability
    mean_log_probability_below: float = -1.0  # natural
    no_speech_probability_above: float = 0.6
    compression_ratio_above: float = 2.4
    repetition_above: float = 0.5  # share of character triples
    voice_overlap_below: float = 0.5  # share of the utterance's time
    level_below_dbfs: float = -50.0
    agreement_below: float = 0.6  # 1 - character error rate
    invented_below: float = -0.6  # agreement + mean log-probability; chosen on babble, see docs/recognition.md
    context_s: float = 0.3  # sound around an utterance that is decoded again
    window_s: float = 30.0
    windows_at_once: int = 8  # bounds memory
    pause_s: float = 0.5  # between utterances in that window
    boilerplate_level_below_dbfs: float = -35.0  # boilerplate is suppressed on weak sound only; a television may say it
    boilerplate_no_speech_above: float = 0.3
    boilerplate_log_probability_below: float = -0.7


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An utterance that is not believed to have been said, and why."""

    utterance: Utterance
    reason: str


def measure_levels(utterances: Sequence[Utterance], channels: Sequence[Channel]) -> list[Utterance]:
    """The same with their level in dBFS, root mean square."""
    samples = {channel.index: channel.samples for channel in channels}
    measured = []
    for said in utterances:
        start, end = (round(at * SAMPLE_RATE) for at in (said.start, said.end))
        sound = samples[said.channel].read(start, end)
        evidence = said.evidence and replace(said.evidence, level_dbfs=level_dbfs(sound))
        measured.append(replace(said, evidence=evidence))
    return measured


def level_dbfs(sound: NDArray[np.float32]) -> float:
    power = float(np.mean(np.square(sound, dtype=np.float64))) if sound.size else 0.0
    return max(QUIETEST_DBFS, 10 * float(np.log10(power))) if power else QUIETEST_DBFS


def suppress(
    utterances: Sequence[Utterance], hearing: Hearing | None = None
) -> tuple[list[Utterance], list[Suppressed]]:
    """What is believed, and what is boilerplate on weak sound."""
    chosen = hearing or Hearing()
    kept: list[Utterance] = []
    suppressed: list[Suppressed] = []
    for said in utterances:
        phrase = _boilerplate_in(said.text)
        weakness = phrase and said.evidence and next(_weak_sound(said.evidence, chosen), None)
        if phrase and weakness:
            reason = f"a phrase that recognisers invent ({phrase}), and {weakness}"
            suppressed.append(Suppressed(said, reason))
        else:
            kept.append(said)
    return kept, suppressed


def decode_again(
    flagged: Sequence[Utterance], channels: Sequence[Channel], again: Again, hearing: Hearing | None = None
) -> list[Utterance]:
    """The same with their agreement with a second decode, of their own sound alone.

    Several share a window, to be quick; which of them a second text belongs to tells the alignment of both texts.
    """
    chosen = hearing or Hearing()
    samples = {channel.index: channel.samples for channel in channels}
    longest = round(chosen.window_s * SAMPLE_RATE)
    pause = np.zeros(round(chosen.pause_s * SAMPLE_RATE), np.float32)

    def sound(window: list[Utterance]) -> NDArray[np.float32]:
        parts: list[NDArray[np.float32]] = []
        for said in window:
            start, end = round(said.start * SAMPLE_RATE), round(said.end * SAMPLE_RATE)
            # The utterance comes first where a window can't hold its surroundings too.
            context = max(0, min(round(chosen.context_s * SAMPLE_RATE), (longest - (end - start)) // 2))
            parts += [samples[said.channel].read(max(0, start - context), end + context), pause]
        return np.concatenate(parts[:-1])[:longest]

    checked: list[Utterance] = []
    windows = list(_windows(flagged, chosen))
    for begin in range(0, len(windows), chosen.windows_at_once):
        batch = windows[begin : begin + chosen.windows_at_once]
        for window, text in zip(batch, again([sound(window) for window in batch]), strict=True):
            agreements = agreement([characters(said.text) for said in window], characters(text))
            checked += [
                replace(said, evidence=said.evidence and replace(said.evidence, agreement=agreed))
                for said, agreed in zip(window, agreements, strict=True)
            ]
    return checked


def agreement(first: Sequence[str], second: str) -> list[float]:
    """Of each of the first texts, 1 - character error rate to its part of the second, but not below 0."""
    owners = [index for index, text in enumerate(first) for _ in text]
    errors = [0] * len(first)
    for change in Levenshtein.opcodes("".join(first), second):
        if change.tag == "insert" and owners:
            errors[owners[min(change.src_start, len(owners) - 1)]] += change.dest_end - change.dest_start
        elif change.tag != "equal":
            for place in range(change.src_start, change.src_end):
                errors[owners[place]] += 1
    return [max(0.0, 1 - wrong / len(text)) if text else 1.0 for text, wrong in zip(first, errors, strict=True)]


def invented(utterance: Utterance, hearing: Hearing | None = None) -> str | None:
    """Why nothing speaks for the words of an utterance that was decoded twice; None if something does."""
    chosen, evidence = hearing or Hearing(), utterance.evidence
    if evidence is None or evidence.agreement is None:
        return None
    if evidence.agreement + evidence.mean_log_probability >= chosen.invented_below:
        return None
    return f"{_other_words(evidence.agreement)}, and {_UNCLEAR}"


def doubts(utterance: Utterance, hearing: Hearing | None = None) -> Iterator[str]:
    """Why a person should hear the utterance before anyone believes its words, in plain words."""
    chosen, evidence = hearing or Hearing(), utterance.evidence
    if utterance.confidence < chosen.confidence_below or (
        evidence and evidence.mean_log_probability < chosen.mean_log_probability_below
    ):
        yield _UNCLEAR
    if evidence is None:
        return
    if evidence.no_speech_probability > chosen.no_speech_probability_above:
        yield "the recogniser doubts that anybody speaks here"
    if evidence.voice_overlap < chosen.voice_overlap_below:
        yield "for most of its time no voice is heard"
    if evidence.level_dbfs is not None and evidence.level_dbfs < chosen.level_below_dbfs:
        yield f"very quiet ({evidence.level_dbfs:.0f} dBFS)"
    if evidence.compression_ratio > chosen.compression_ratio_above or evidence.repetition > chosen.repetition_above:
        yield "the text repeats itself, as invented text does"
    if evidence.agreement is not None and evidence.agreement < chosen.agreement_below:
        yield _other_words(evidence.agreement)


def _weak_sound(evidence: Evidence, hearing: Hearing) -> Iterator[str]:
    if evidence.voice_overlap < hearing.voice_overlap_below:
        yield "for most of its time no voice is heard"
    if evidence.level_dbfs is not None and evidence.level_dbfs < hearing.boilerplate_level_below_dbfs:
        yield f"the sound is weak ({evidence.level_dbfs:.0f} dBFS)"
    if evidence.no_speech_probability > hearing.boilerplate_no_speech_above:
        yield "the recogniser doubts that anybody speaks here"
    if evidence.mean_log_probability < hearing.boilerplate_log_probability_below:
        yield _UNCLEAR


def _other_words(agreed: float) -> str:
    return f"decoded again, other words were heard (agreement {agreed:.0%})"


def _windows(flagged: Sequence[Utterance], hearing: Hearing) -> Iterator[list[Utterance]]:
    window: list[Utterance] = []
    used = 0.0
    for said in flagged:
        seconds = said.end - said.start + 2 * hearing.context_s + hearing.pause_s
        if window and used + seconds > hearing.window_s:
            yield window
            window, used = [], 0.0
        window.append(said)
        used += seconds
    if window:
        yield window


def _boilerplate_in(text: str) -> str | None:
    plain = characters(text)
    return next((phrase for phrase, sought in _boilerplate() if sought in plain), None)


@lru_cache(maxsize=1)
def _boilerplate() -> tuple[tuple[str, str], ...]:
    phrases = BOILERPLATE.read_text("utf8").splitlines()
    return tuple((phrase, characters(phrase)) for phrase in phrases if phrase)
