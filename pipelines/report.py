"""Findings -> Report: the one result type, the same by every door."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from models.call import KINDS, Evidence, Finding, Form, Label, Recording, Speaker
from pipelines import conversation
from pipelines.hearing import Suppressed
from pipelines.verdict import verdict

WORST_UTTERANCES = 5


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RecordingPart(_Part):
    sha256: str = Field(description="Hash of the file as received", pattern="^[0-9a-f]{64}$")
    duration: float = Field(description="Seconds", ge=0)
    channels: int = Field(description="Distinct channels; a file whose two channels are the same signal has one", ge=1)
    codec: str = Field(description="Codec as found in the file, for instance amr_nb or pcm_mulaw")


class ModelPart(_Part):
    role: Literal["transcriber", "classifier", "speakers"]
    name: str
    version: str
    sha256: str = Field(description="Hash over the model's files", pattern="^[0-9a-f]{64}$")


class Scores(_Part):
    """Calibrated probability of each kind of abuse."""

    threat: float = Field(ge=0, le=1)
    insult: float = Field(ge=0, le=1)
    third_party_contact: float = Field(ge=0, le=1)


class EvidencePart(_Part):
    """How well it is known that the words were said at all."""

    mean_log_probability: float = Field(description="Natural logarithm, mean over the utterance's words")
    no_speech_probability: float = Field(
        description="That nobody speaks in the window that was decoded, as the recogniser has it", ge=0, le=1
    )
    compression_ratio: float = Field(description="Of the window's text; text that repeats itself has a high one", ge=0)
    repetition: float = Field(
        description="Share of the text's character triples that occurred before in it", ge=0, le=1
    )
    voice_overlap: float = Field(
        description="Share of the utterance's time in which the voice detector hears a voice", ge=0, le=1
    )
    level_dbfs: float | None = Field(description="Root mean square level, 0 the loudest that can be stored", le=0)
    agreement: float | None = Field(
        description="1 - character error rate to a second decode of the utterance's own sound; null: not flagged, "
        "so not decoded again",
        ge=0,
        le=1,
    )

    @classmethod
    def of(cls, evidence: Evidence) -> Self:
        level, agreed = evidence.level_dbfs, evidence.agreement
        return cls(
            mean_log_probability=round(evidence.mean_log_probability, 4),
            no_speech_probability=round(evidence.no_speech_probability, 4),
            compression_ratio=round(evidence.compression_ratio, 3),
            repetition=round(evidence.repetition, 4),
            voice_overlap=round(evidence.voice_overlap, 4),
            level_dbfs=None if level is None else round(min(level, 0.0), 1),
            agreement=None if agreed is None else round(agreed, 4),
        )


class UtterancePart(_Part):
    index: int = Field(ge=0)
    channel: int = Field(ge=0)
    speaker: Speaker
    speaker_confidence: float | None = Field(
        default=None, description="Probability that `speaker` is right; null where it is unknown", ge=0, le=1
    )
    start: float = Field(description="Seconds from the start of the recording", ge=0)
    end: float = Field(ge=0)
    text: str = Field(description="Transcript in simplified characters")
    raw_text: str = Field(description="Transcript as the recogniser wrote it")
    label: Label = Field(description="The one primary label")
    labels: tuple[Label, ...] = Field(description="All kinds of abuse that hold, most probable first")
    scores: Scores
    forms: tuple[Form, ...] = Field(default=(), description="The forms that the abuse takes")
    asr_confidence: float = Field(description="Mean probability of the utterance's words", ge=0, le=1)
    needs_review: bool = Field(description="A person must hear this before anyone acts on it")
    review_reasons: tuple[str, ...] = ()
    evidence: EvidencePart | None = Field(default=None, description="Null where no recogniser wrote the text")
    characters_a_second: float | None = Field(default=None, description="Speech rate, without marks", ge=0)
    raised_voice: bool = Field(
        default=False, description="Louder than this speaker's own median in the channel by more than 6 dB"
    )


class SuppressedPart(_Part):
    """What the recogniser wrote and nobody is believed to have said; never labelled, never counted."""

    channel: int = Field(ge=0)
    start: float = Field(description="Seconds from the start of the recording", ge=0)
    end: float = Field(ge=0)
    text: str
    reason: str = Field(description="Why it is not believed, in plain words")
    evidence: EvidencePart | None = None


class SpeakerPart(_Part):
    """One speaker's part in the conversation; a speaker who is not known has one part a channel."""

    speaker: Speaker
    channel: int = Field(ge=0)
    talk_seconds: float = Field(ge=0)
    silent_seconds: float = Field(description="The rest of the call", ge=0)
    interruptions: int = Field(description="Of others by this speaker, with more than 0.5 s of overlap", ge=0)
    characters_a_second: float = Field(ge=0)
    median_level_dbfs: float | None
    raised: int = Field(description="Utterances in a raised voice", ge=0)

    @classmethod
    def of(cls, part: conversation.Part) -> Self:
        return cls(
            speaker=part.speaker,
            channel=part.channel,
            talk_seconds=round(part.talk_s, 2),
            silent_seconds=round(part.silent_s, 2),
            interruptions=part.interruptions,
            characters_a_second=round(part.characters_a_second, 2),
            median_level_dbfs=None if part.median_level_dbfs is None else round(part.median_level_dbfs, 1),
            raised=part.raised,
        )


class SpeechSeconds(_Part):
    collector: float = 0.0
    borrower: float = 0.0
    unknown: float = 0.0


class Counts(_Part):
    threat: int = 0
    insult: int = 0
    third_party_contact: int = 0
    compliant: int = 0


class Summary(_Part):
    verdict: tuple[Label, ...] = Field(
        description="Kinds of abuse in the collector's speech that need no review first; empty: none found"
    )
    awaiting_review: int = Field(description="Flagged utterances, of the collector or of an unknown speaker, to hear")
    collector: Counts = Field(description="Collector utterances by primary label")
    worst: tuple[int, ...] = Field(description="Indices of the flagged utterances with the highest scores")
    speech_seconds: SpeechSeconds


class Report(_Part):
    """Everything that callaudit says about one recording."""

    schema_version: Literal["1.0"] = "1.0"
    recording: RecordingPart
    models: tuple[ModelPart, ...]
    utterances: tuple[UtterancePart, ...]
    suppressed: tuple[SuppressedPart, ...] = Field(default=(), description="Words that are taken for invented")
    conversation: tuple[SpeakerPart, ...] = Field(default=(), description="Who talks how long, how fast and how loud")
    silence_seconds: float | None = Field(default=None, description="In which nobody speaks", ge=0)
    summary: Summary

    @classmethod
    def of(
        cls,
        recording: Recording,
        findings: Sequence[Finding],
        models: Sequence[ModelPart],
        suppressed: Sequence[Suppressed] = (),
    ) -> Self:
        said = [finding.utterance for finding in findings]
        utterances = tuple(
            _utterance(index, finding, manner)
            for index, (finding, manner) in enumerate(zip(findings, conversation.manners(said), strict=True))
        )
        talk = conversation.together((u.start, u.end) for u in said)
        return cls(
            recording=RecordingPart(
                sha256=recording.sha256,
                duration=round(recording.duration, 3),
                channels=len(recording.channels),
                codec=recording.codec,
            ),
            models=tuple(models),
            utterances=utterances,
            suppressed=tuple(_suppressed(part) for part in suppressed),
            conversation=tuple(SpeakerPart.of(part) for part in conversation.parts(said, recording.duration)),
            silence_seconds=round(max(0.0, recording.duration - talk), 2),
            summary=summarise(utterances),
        )


def accused(utterances: Iterable[UtterancePart]) -> tuple[UtterancePart, ...]:
    """Utterances with a kind of abuse, of the collector or of a speaker who is not known."""
    return tuple(u for u in utterances if u.labels and u.speaker is not Speaker.BORROWER)


def summarise(utterances: Sequence[UtterancePart]) -> Summary:
    """Only the collector's speech counts; an unknown speaker's abuse waits for a person."""
    collector = [u for u in utterances if u.speaker is Speaker.COLLECTOR]
    suspected = accused(utterances)
    worst = sorted(suspected, key=lambda u: -max(u.scores.model_dump().values()))[:WORST_UTTERANCES]
    seconds = {
        speaker.value: round(sum(u.end - u.start for u in utterances if u.speaker is speaker), 2) for speaker in Speaker
    }
    return Summary(
        verdict=verdict(utterances, {}),
        awaiting_review=sum(u.needs_review for u in suspected),
        collector=Counts(**Counter(u.label.value for u in collector)),
        worst=tuple(u.index for u in worst),
        speech_seconds=SpeechSeconds(**seconds),
    )


def _utterance(index: int, finding: Finding, manner: conversation.Manner) -> UtterancePart:
    said, judged = finding.utterance, finding.judgement
    return UtterancePart(
        index=index,
        channel=said.channel,
        speaker=said.speaker,
        speaker_confidence=None if said.speaker_confidence is None else round(said.speaker_confidence, 4),
        start=round(said.start, 2),
        end=round(said.end, 2),
        text=said.text,
        raw_text=said.raw_text,
        label=judged.label,
        labels=judged.labels,
        scores=Scores(**{kind.value: round(judged.scores[kind], 4) for kind in KINDS}),
        forms=judged.forms,
        asr_confidence=round(said.confidence, 4),
        needs_review=bool(finding.review_reasons),
        review_reasons=finding.review_reasons,
        evidence=said.evidence and EvidencePart.of(said.evidence),
        characters_a_second=round(manner.characters_a_second, 2),
        raised_voice=manner.raised_voice,
    )


def _suppressed(part: Suppressed) -> SuppressedPart:
    said = part.utterance
    return SuppressedPart(
        channel=said.channel,
        start=round(said.start, 2),
        end=round(said.end, 2),
        text=said.text,
        reason=part.reason,
        evidence=said.evidence and EvidencePart.of(said.evidence),
    )
