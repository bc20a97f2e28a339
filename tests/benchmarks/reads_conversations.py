"""Sentences of the grammar -> reports of made-up calls, as a scored call has them."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.call import KINDS, Label, Speaker
from pipelines.redaction import redact_report
from pipelines.report import (
    EvidencePart,
    RecordingPart,
    Report,
    Scores,
    SuppressedPart,
    UtterancePart,
    accused,
    summarise,
)

_GRAMMAR = Path(__file__).parent.parent.parent / "pipelines" / "training" / "corpus" / "grammar.jsonl"
_LENGTHS = (12, 20, 28, 31, 36, 54)  # utterances; their mean is 30 and a sixth
_ABUSIVE_CALLS, _ABUSE_IN_THEM = 0.15, 0.1
_UNKNOWN, _DOUBTFUL, _INVENTED = 0.01, 0.03, 0.1
_HASH_PLACE = "0" * 64


@dataclass(frozen=True, slots=True)
class Conversation:
    """One report, and its parts in the forms in which they go into tables."""

    report: str  # JSON
    seconds: float
    found: tuple[str, ...]  # labels of the call
    verdict: tuple[str, ...]
    flagged: tuple[int, ...]  # indices of utterances
    rows: tuple[str, ...]  # of `utterances`: the columns from place to suppressed, for COPY

    def report_of(self, recording_sha256: str) -> str:
        return self.report.replace(_HASH_PLACE, recording_sha256, 1)


def conversations(number: int, seed: int) -> list[Conversation]:
    said = _Sentences(random.Random(seed))
    return [_conversation(said) for _ in range(number)]


class _Sentences:
    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        rows = [json.loads(line) for line in _GRAMMAR.read_text("utf-8").splitlines()]
        self._abuse = [row for row in rows if row["labels"]]
        self._collector = [row["text"] for row in rows if not row["labels"] and row["speaker"] == "collector"]
        others = [row["text"] for row in rows if row["speaker"] != "collector" and not row["labels"]]
        self._borrower = others + [text for row in rows for text in row["previous"]]

    def of(self, speaker: Speaker, abusive: bool) -> tuple[str, tuple[Label, ...]]:
        """Two sentences half of the time, so that calls do not repeat each other word by word."""
        if abusive:
            row = self.draw.choice(self._abuse)
            return row["text"], tuple(Label(label) for label in row["labels"])
        known = self._borrower if speaker is Speaker.BORROWER else self._collector
        return "".join(self.draw.sample(known, self.draw.choice((1, 2)))), ()


def abusive_report(utterances: int, seed: int) -> Report:
    """Of a call of two channels; one in twenty utterances is flagged. The hash of its recording is zeroes."""
    return _report(_Sentences(random.Random(seed)), utterances, abusive=True)


def _conversation(said: _Sentences) -> Conversation:
    abusive = said.draw.random() < _ABUSIVE_CALLS
    report = _report(said, said.draw.choice(_LENGTHS), abusive)
    flagged = accused(report.utterances)
    found = {label for part in flagged for label in part.labels} or {Label.COMPLIANT}
    return Conversation(
        report=report.model_dump_json(),
        seconds=report.recording.duration,
        found=tuple(map(str, found)),
        verdict=tuple(map(str, report.summary.verdict)),
        flagged=tuple(part.index for part in flagged),
        rows=tuple(_rows(report)),
    )


def _report(said: _Sentences, utterances: int, abusive: bool) -> Report:
    draw = said.draw
    parts, at = [], 0.0
    for index in range(utterances):
        speaker = Speaker.BORROWER if index % 2 else Speaker.COLLECTOR
        speaker = Speaker.UNKNOWN if draw.random() < _UNKNOWN else speaker
        text, labels = said.of(speaker, abusive and speaker is not Speaker.BORROWER and draw.random() < _ABUSE_IN_THEM)
        parts.append(_part(draw, index=index, speaker=speaker, start=at, text=text, labels=labels))
        at = parts[-1].end + draw.uniform(0.2, 2.0)
    return Report(
        recording=RecordingPart(sha256=_HASH_PLACE, duration=round(at, 3), channels=2, codec="pcm_s16le"),
        models=(),
        utterances=tuple(parts),
        suppressed=tuple(_invented(draw, at)),
        summary=summarise(parts),
    )


def _part(
    draw: random.Random, *, index: int, speaker: Speaker, start: float, text: str, labels: tuple[Label, ...]
) -> UtterancePart:
    scores = {kind.value: round(draw.uniform(0.6, 1) if kind in labels else draw.random() ** 8, 4) for kind in KINDS}
    doubtful = draw.random() < _DOUBTFUL
    return UtterancePart(
        index=index,
        channel=index % 2,
        speaker=speaker,
        start=round(start, 2),
        end=round(start + 0.2 * len(text) + 0.3, 2),
        text=text,
        raw_text=text,
        label=labels[0] if labels else Label.COMPLIANT,
        labels=labels,
        scores=Scores(**scores),
        asr_confidence=round(draw.uniform(0.5, 1), 4),
        needs_review=doubtful,
        review_reasons=("the words were not heard clearly",) if doubtful else (),
        evidence=_evidence(draw),
        characters_a_second=round(draw.uniform(3, 7), 2),
    )


def _evidence(draw: random.Random) -> EvidencePart:
    return EvidencePart(
        mean_log_probability=round(-draw.random(), 4),
        no_speech_probability=round(draw.random() / 4, 4),
        compression_ratio=round(draw.uniform(0.5, 1.5), 3),
        repetition=0.0,
        voice_overlap=round(draw.uniform(0.8, 1), 4),
        level_dbfs=round(-draw.uniform(15, 35), 1),
        agreement=None,
    )


def _invented(draw: random.Random, at: float) -> Iterator[SuppressedPart]:
    if draw.random() < _INVENTED:
        text = draw.choice(("请不吝点赞订阅转发", "字幕由志愿者提供", "谢谢观看"))
        yield SuppressedPart(
            channel=0, start=round(at, 2), end=round(at + 1, 2), text=text, reason="nobody speaks there"
        )


def _rows(report: Report) -> Iterator[str]:
    shown = redact_report(report)
    for part in shown.utterances:
        scores = "\t".join(str(score) for score in part.scores.model_dump().values())
        yield (
            f"{part.index}\t{part.speaker}\t{part.start}\t{part.end}\t{part.text}\t{part.label}"
            f"\t{scores}\t{'t' if part.needs_review else 'f'}\tf"
        )
    for gone in shown.suppressed:
        yield f"\\N\tunknown\t{gone.start}\t{gone.end}\t{gone.text}\tcompliant\t0\t0\t0\tf\tt"
