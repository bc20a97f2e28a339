"""Recording -> Report: the one journey that every door leads to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.call import Channel, Finding, Judgement, Recording, Segment, Speaker, Utterance
from models.classifier import PREVIOUS_TURNS, Classifier
from models.transcriber import Transcriber
from models.weights import Weights
from pipelines.hearing import UNKNOWN_SPEAKER, Hearing, decode_again, doubts, measure_levels, suppress
from pipelines.report import ModelPart, Report
from pipelines.utterances import assign_speakers, split

Progress = Callable[[float], None]  # hears the share done, 0 to 1


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Which models, where. `device`: auto, cpu or cuda; `compute_type` as CTranslate2 has it; 0 threads: all cores."""

    asr_model: str = "bundled/transcriber"
    classifier: str = "bundled/classifier"
    device: str = "auto"
    compute_type: str = "default"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Engine:
    """The loaded models; build once, pass down, share between threads."""

    transcriber: Transcriber
    classifier: Classifier
    hearing: Hearing = field(default_factory=Hearing)

    def transcribe(self, channel: Channel, progress: Callable[[float], None] | None = None) -> Iterator[Segment]:
        return self.transcriber(channel, progress)

    def hear_again(self, sounds: Sequence[NDArray[np.float32]]) -> list[str]:
        return self.transcriber.again(sounds)

    def classify(self, texts: Sequence[str], previous: Sequence[Sequence[str]] | None = None) -> list[Judgement]:
        return self.classifier(texts, previous)

    @property
    def models(self) -> tuple[ModelPart, ...]:
        return (
            _part("transcriber", self.transcriber.weights),
            _part("classifier", self.classifier.weights),
        )


def load_engine(options: EngineOptions | None = None) -> Engine:
    """Raises ModelError, naming the setting, if a model cannot be loaded."""
    chosen = options or EngineOptions()
    return Engine(
        Transcriber(chosen.asr_model, chosen.device, chosen.compute_type, chosen.threads),
        Classifier(chosen.classifier, chosen.device, chosen.threads),
    )


def score(
    recording: Recording, engine: Engine, collector_channel: int | None = None, progress: Progress | None = None
) -> Report:
    """`collector_channel`: 0 or 1 if known; else it is decided from what is said. Silence gives no utterances."""
    heard = sorted(_utterances(recording, engine, progress), key=lambda u: (u.start, u.channel))
    utterances, suppressed = suppress(measure_levels(heard, recording.channels), engine.hearing)
    previous = [[u.text for u in utterances[max(0, i - PREVIOUS_TURNS) : i]] for i in range(len(utterances))]
    judgements = engine.classify([u.text for u in utterances], previous) if utterances else []
    spoken = assign_speakers(utterances, [j.collector for j in judgements], len(recording.channels), collector_channel)
    flagged = [index for index, judgement in enumerate(judgements) if judgement.labels]
    again = decode_again([spoken[i] for i in flagged], recording.channels, engine.hear_again, engine.hearing)
    for index, utterance in zip(flagged, again, strict=True):
        spoken[index] = utterance
    findings = [
        Finding(utterance, judgement, tuple(_review_reasons(utterance, judgement, engine.hearing)))
        for utterance, judgement in zip(spoken, judgements, strict=True)
    ]
    return Report.of(recording, findings, engine.models, suppressed)


def _utterances(recording: Recording, engine: Engine, progress: Progress | None) -> Iterator[Utterance]:
    total = sum(channel.duration for channel in recording.channels) or 1.0
    before = 0.0
    for channel in recording.channels:

        def report(seconds: float, before: float = before) -> None:
            if progress:
                progress(min(1.0, (before + seconds) / total))

        yield from split(engine.transcribe(channel, report), channel.index)
        before += channel.duration


def _review_reasons(utterance: Utterance, judgement: Judgement, hearing: Hearing) -> Iterator[str]:
    if not judgement.labels:
        return
    if utterance.speaker is Speaker.UNKNOWN:
        yield UNKNOWN_SPEAKER
    yield from doubts(utterance, hearing)


def _part(role: str, weights: Weights) -> ModelPart:
    return ModelPart(role=role, name=weights.name, version=weights.version, sha256=weights.sha256)
