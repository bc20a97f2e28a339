"""Transcripts that exist already -> reports: only classified, in large batches.

Three forms: JSON lines of {speaker, start, end, text} with seconds; SRT; and a JSON list of sentences with channel and
begin and end in milliseconds, as vendors of speech recognition give it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.call import Channel, Finding, Recording, Speaker, Utterance
from models.classifier import LONGEST_TEXT, PREVIOUS_TURNS, Classifier, normalise
from models.errors import CallError
from models.simplified import simplified
from pipelines.hearing import UNKNOWN_SPEAKER
from pipelines.report import ModelPart, Report
from pipelines.utterances import assign_speakers

CODEC = "transcript"
_LONGEST_BYTES = 32 * 2**20
_SENTENCE_LISTS = ("sentences", "Sentences", "sentence_list", "result", "results", "data", "payload")

_ROLES = {
    **dict.fromkeys(("collector", "agent", "seat", "坐席", "催收员", "客服", "催收"), Speaker.COLLECTOR),
    **dict.fromkeys(("borrower", "customer", "client", "user", "客户", "用户", "借款人", "欠款人"), Speaker.BORROWER),
}

_TIME = r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})"
_SRT_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_SRT_SPEAKER = re.compile(r"^\s*(?:\[([^\]]{1,20})\]|([^:：\s]{1,20})\s*[:：])\s*(.+)$", re.DOTALL)


class BadTranscript(CallError):
    """A transcript that is in none of the known forms."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"not a transcript ({why}); send JSON lines of speaker, start, end, text, or SRT, "
            "or a JSON list of sentences with channel, begin and end in milliseconds"
        )


@dataclass(frozen=True, slots=True)
class Sentence:
    speaker: Speaker | None  # None: not told
    channel: int
    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    sha256: str
    sentences: tuple[Sentence, ...]

    @property
    def channels(self) -> int:
        return max((sentence.channel for sentence in self.sentences), default=0) + 1


def read_transcript(name: str, content: bytes) -> Transcript:
    """By its content, not by its name's ending, but for SRT. Raises BadTranscript."""
    if len(content) > _LONGEST_BYTES:
        raise BadTranscript(f"it has {len(content)} bytes, the limit is {_LONGEST_BYTES}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadTranscript("not UTF-8") from None
    if not text.strip():
        raise BadTranscript("empty")
    found = list(_srt(text) if name.lower().endswith(".srt") else _json(text))
    found = [sentence for sentence in found if normalise(sentence.text)]
    if any(len(normalise(s.text)) > LONGEST_TEXT or len(s.text) > LONGEST_TEXT for s in found):
        raise BadTranscript(f"a sentence is longer than {LONGEST_TEXT} characters")
    found.sort(key=lambda s: (s.start_s, s.channel))
    return Transcript(hashlib.sha256(content).hexdigest(), tuple(found))


def judge_all(transcripts: Sequence[tuple[Transcript, int | None]], classifier: Classifier) -> list[Report]:
    """Each with the collector's channel, if known; all utterances are classified in one go."""
    texts: list[str] = []
    previous: list[list[str]] = []
    for transcript, _ in transcripts:
        said = [simplified(sentence.text) for sentence in transcript.sentences]
        texts += said
        previous += [said[max(0, i - PREVIOUS_TURNS) : i] for i in range(len(said))]
    judgements = iter(classifier(texts, previous) if texts else [])
    weights = classifier.weights
    part = ModelPart(role="classifier", name=weights.name, version=weights.version, sha256=weights.sha256)
    reports = []
    for transcript, channel in transcripts:
        judged = [next(judgements) for _ in transcript.sentences]
        spoken = _spoken(transcript, [judgement.collector for judgement in judged], channel)
        reports.append(_report(transcript, spoken, judged, (part,)))
    return reports


def _report(
    transcript: Transcript, spoken: Sequence[Utterance], judged: Sequence[Any], models: tuple[ModelPart, ...]
) -> Report:
    findings = [
        Finding(said, judgement, (UNKNOWN_SPEAKER,) if judgement.labels and said.speaker is Speaker.UNKNOWN else ())
        for said, judgement in zip(spoken, judged, strict=True)
    ]
    channels = tuple(Channel(index, _Nothing()) for index in range(transcript.channels))
    duration = max((sentence.end_s for sentence in transcript.sentences), default=0.0)
    return Report.of(Recording(transcript.sha256, duration, CODEC, len(channels), channels), findings, models)


def _spoken(transcript: Transcript, odds: Sequence[float], collector_channel: int | None) -> list[Utterance]:
    """Roles as told; where none is, by channel."""
    utterances = [
        Utterance(
            channel=sentence.channel,
            speaker=sentence.speaker or Speaker.UNKNOWN,
            start=sentence.start_s,
            end=sentence.end_s,
            text=simplified(sentence.text),
            raw_text=sentence.text,
            confidence=1.0,
            speaker_confidence=1.0 if sentence.speaker else None,
        )
        for sentence in transcript.sentences
    ]
    if any(sentence.speaker for sentence in transcript.sentences):
        return utterances
    return assign_speakers(utterances, odds, transcript.channels, collector_channel)


class _Nothing:
    """The sound of a transcript."""

    def __len__(self) -> int:
        return 0

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        return np.zeros(0, np.float32)


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    speaker: str | None = None
    start: float = Field(ge=0, le=1e6)
    end: float = Field(ge=0, le=1e6)
    text: str
    channel: int = Field(default=0, ge=0, le=1)


def _json(text: str) -> Iterator[Sentence]:
    try:
        whole = json.loads(text)
    except ValueError:
        yield from _lines(text)
        return
    sentences = _sentence_list(whole)
    if sentences is None:
        yield from _lines(text)
    elif sentences and isinstance(sentences[0], dict) and "start" in sentences[0]:
        for number, row in enumerate(sentences, start=1):
            yield _of_line(number, row)
    else:
        yield from _vendor(sentences)


def _sentence_list(whole: Any) -> list[Any] | None:
    """The list may lie within an answer, as {"data": {"sentences": [...]}}."""
    if isinstance(whole, list):
        return whole
    if isinstance(whole, dict):
        for key in _SENTENCE_LISTS:
            if (found := _sentence_list(whole.get(key))) is not None:
                return found
    return None


def _lines(text: str) -> Iterator[Sentence]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                raise BadTranscript(f"line {number} is not JSON") from None
            yield _of_line(number, row)


def _of_line(number: int, row: Any) -> Sentence:
    try:
        line = _Line.model_validate(row)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise BadTranscript(f"line {number}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    return Sentence(_role(line.speaker), line.channel, line.start, max(line.start, line.end), line.text.strip())


def _vendor(sentences: Sequence[Any]) -> Iterator[Sentence]:
    """Names differ by vendor and so does their case; the times are milliseconds in all of them."""
    for number, row in enumerate(sentences, start=1):
        if not isinstance(row, dict):
            raise BadTranscript(f"sentence {number} is not an object")
        told = {re.sub(r"[^a-z]", "", str(key).lower()): value for key, value in row.items()}
        try:
            begin = float(_first(told, "begintime", "begin", "starttime", "bg", "startms", "beginms"))
            end = float(_first(told, "endtime", "end", "ed", "endms"))
            text = str(_first(told, "text", "onebest", "sentence", "finalsentence"))
            channel = int(_first(told, "channelid", "channel", default=0))
        except (KeyError, TypeError, ValueError) as error:
            raise BadTranscript(f"sentence {number}: {error}") from None
        if channel not in (0, 1) or not 0 <= begin <= 1e9 or not 0 <= end <= 1e9:
            raise BadTranscript(f"sentence {number}: channel {channel}, {begin:g} to {end:g} ms")
        role = _role(_first(told, "role", "speaker", "speakerrole", default=None))
        yield Sentence(role, channel, begin / 1000, max(begin, end) / 1000, text.strip())


def _first(told: dict[str, Any], *names: str, **default: Any) -> Any:
    for name in names:
        if name in told:
            return told[name]
    if "default" in default:
        return default["default"]
    raise KeyError(f"has none of {', '.join(names)}")


def _srt(text: str) -> Iterator[Sentence]:
    for number, block in enumerate(re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()), start=1):
        lines = block.split("\n")
        times = next((i for i, line in enumerate(lines[:2]) if "-->" in line), None)
        found = _SRT_TIMES.match(lines[times]) if times is not None else None
        if times is None or not found:
            raise BadTranscript(f"block {number} has no times as 00:00:01,000 --> 00:00:02,000")
        said = " ".join(lines[times + 1 :]).strip()
        named = _SRT_SPEAKER.match(said)
        role = _role(named[1] or named[2]) if named else None
        begin, end = _seconds(found.groups()[:4]), _seconds(found.groups()[4:])
        yield Sentence(role, 0, begin, max(begin, end), named[3].strip() if named and role else said)


def _seconds(parts: Sequence[str]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _role(name: Any) -> Speaker | None:
    return _ROLES.get(str(name).strip().lower()) if name is not None else None
