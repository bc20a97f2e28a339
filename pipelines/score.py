"""Recording -> Report: the one journey that every door leads to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.call import Channel, Finding, Judgement, Recording, Segment, Speaker, Utterance
from models.classifier import PREVIOUS_TURNS, Classifier
from models.speakers import Embeddings, Separation
from models.transcriber import Transcriber
from models.weights import Weights
from pipelines.hearing import (
    UNKNOWN_SPEAKER,
    Hearing,
    Suppressed,
    decode_again,
    doubts,
    invented,
    measure_levels,
    suppress,
)
from pipelines.report import ModelPart, Report
from pipelines.utterances import assign_speakers, split
from pipelines.voices import cut_by_voice

Progress = Callable[[float], None]  # hears the share done, 0 to 1


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Which models, where.

    `speakers`: off, embeddings, pyannote or pyannote:FOLDER. `device`: auto, cpu or cuda; `compute_type` as
    Transcriber has it; 0 threads: all cores.
    """

    asr_model: str = "bundled/transcriber"
    classifier: str = "bundled/classifier"
    speakers: str = "embeddings"
    device: str = "auto"
    compute_type: str = "default"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Engine:
    """The loaded models; build once, pass down, share between threads."""

    transcriber: Transcriber
    classifier: Classifier
    separation: Separation | None = None  # None: the voices of one channel are not told apart
    hearing: Hearing = field(default_factory=Hearing)

    def transcribe(self, channel: Channel, progress: Callable[[float], None] | None = None) -> Iterator[Segment]:
        return self.transcriber(channel, progress)

    def hear_again(self, sounds: Sequence[NDArray[np.float32]]) -> list[str]:
        return self.transcriber.again(sounds)

    def classify(self, texts: Sequence[str], previous: Sequence[Sequence[str]] | None = None) -> list[Judgement]:
        return self.classifier(texts, previous)

    @property
    def models(self) -> tuple[ModelPart, ...]:
        separation = [_part("speakers", self.separation.weights)] if self.separation else []
        return (
            _part("transcriber", self.transcriber.weights),
            _part("classifier", self.classifier.weights),
            *separation,
        )


def load_engine(options: EngineOptions | None = None) -> Engine:
    """Raises ModelError, naming the setting, if a model cannot be loaded."""
    chosen = options or EngineOptions()
    return Engine(
        Transcriber(chosen.asr_model, chosen.device, chosen.compute_type, chosen.threads),
        Classifier(chosen.classifier, chosen.device, chosen.threads),
        _separation(chosen),
    )


def score(
    recording: Recording, engine: Engine, collector_channel: int | None = None, progress: Progress | None = None
) -> Report:
    """`collector_channel`: 0 or 1 if known; else it is decided from what is said. Silence gives no utterances."""
    return judge(recording, _segments(recording, engine, progress), engine, collector_channel)


def judge(
    recording: Recording, segments: Mapping[int, list[Segment]], engine: Engine, collector_channel: int | None = None
) -> Report:
    """The same for segments that are known already, of every channel by its index."""
    talking = [channel for channel in recording.channels if segments[channel.index]]
    alone = len(talking) == 1 and (len(recording.channels) == 1 or collector_channel is None)
    separation = engine.separation if alone else None
    heard = [u for channel in talking for u in _utterances(channel, segments[channel.index], separation)]
    heard.sort(key=lambda u: (u.start, u.channel))
    utterances, suppressed = suppress(measure_levels(heard, recording.channels), engine.hearing)
    previous = [[u.text for u in utterances[max(0, i - PREVIOUS_TURNS) : i]] for i in range(len(utterances))]
    judgements = engine.classify([u.text for u in utterances], previous) if utterances else []
    odds = [judgement.collector for judgement in judgements]
    spoken = assign_speakers(utterances, odds, len(recording.channels), collector_channel)
    flagged = [index for index, judgement in enumerate(judgements) if judgement.labels]
    window_s = min(engine.hearing.window_s, engine.transcriber.window_s)
    hearing = replace(engine.hearing, window_s=window_s)
    again = decode_again([spoken[i] for i in flagged], recording.channels, engine.hear_again, hearing)
    for index, utterance in zip(flagged, again, strict=True):
        spoken[index] = utterance
    findings: list[Finding] = []
    for utterance, judgement in zip(spoken, judgements, strict=True):
        reason = invented(utterance, engine.hearing)
        if reason:
            suppressed.append(Suppressed(utterance, reason))
        else:
            reasons = tuple(_review_reasons(utterance, judgement, engine.hearing))
            findings.append(Finding(utterance, judgement, reasons))
    suppressed.sort(key=lambda part: part.utterance.start)
    return Report.of(recording, findings, engine.models, suppressed)


def _segments(recording: Recording, engine: Engine, progress: Progress | None) -> dict[int, list[Segment]]:
    """Of every channel, by its index."""
    total = sum(channel.duration for channel in recording.channels) or 1.0
    before = 0.0
    found: dict[int, list[Segment]] = {}
    for channel in recording.channels:

        def report(seconds: float, before: float = before) -> None:
            if progress:
                progress(min(1.0, (before + seconds) / total))

        found[channel.index] = list(engine.transcribe(channel, report))
        before += channel.duration
    return found


def _utterances(channel: Channel, segments: list[Segment], separation: Separation | None) -> Iterator[Utterance]:
    voiced = separation(channel, [s.voice or (s.start, s.end) for s in segments]) if separation else []
    if not voiced:
        yield from split(segments, channel.index)
        return
    for part, log_odds in cut_by_voice(segments, voiced):
        yield from split([part], channel.index, voice_log_odds=log_odds)


def _review_reasons(utterance: Utterance, judgement: Judgement, hearing: Hearing) -> Iterator[str]:
    if not judgement.labels:
        return
    if utterance.speaker is Speaker.UNKNOWN:
        yield UNKNOWN_SPEAKER
    yield from doubts(utterance, hearing)


def _separation(options: EngineOptions) -> Separation | None:
    if options.speakers == "off":
        return None
    if options.speakers == "embeddings":
        return Embeddings(threads=options.threads)
    from models.pyannote import Pyannote  # noqa: PLC0415 - an extra

    return Pyannote(options.speakers, options.device)


def _part(role: str, weights: Weights) -> ModelPart:
    return ModelPart(role=role, name=weights.name, version=weights.version, sha256=weights.sha256)
