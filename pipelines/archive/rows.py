"""Report -> rows of the tables."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from models.call import KINDS, Speaker
from pipelines.archive.facts import Facts
from pipelines.archive.schemas import CALLS, FAILURES, UTTERANCES
from pipelines.report import Report

Row = dict[str, Any]
Rows = dict[str, list[Row]]


def nothing() -> Rows:
    return {CALLS: [], UTTERANCES: [], FAILURES: []}


def add_report(rows: Rows, recording: str, facts: Facts, report: Report) -> None:
    rows[CALLS].append(_call(recording, facts, report))
    rows[UTTERANCES] += _utterances(recording, facts, report)


def add_failure(
    rows: Rows, recording: str, facts: Facts | None, *, sha256: str | None, error: str, reason: str
) -> None:
    who = {"recording": recording, "call_id": _call_id(recording, facts), "sha256": sha256}
    rows[FAILURES].append({**who, "error": error, "reason": reason})


def add_copies(
    rows: Rows, recording: str, facts: Facts, *, of: str, calls: Sequence[Row], failures: Sequence[Row]
) -> None:
    """The same sound under another name: what was found in the first, with this one's metadata."""
    for call in calls:
        add_report(rows, recording, facts, Report.model_validate_json(call["report"]))
        rows[CALLS][-1]["same_as"] = of
    for failure in failures:
        told = {name: failure[name] for name in ("sha256", "error", "reason")}
        add_failure(rows, recording, facts, **told)


def _call_id(recording: str, facts: Facts | None) -> str:
    return (facts and facts.call_id) or recording


def _call(recording: str, facts: Facts, report: Report) -> Row:
    summary, said = report.summary, report.utterances
    suspect = [u for u in said if u.speaker is not Speaker.BORROWER]
    levels = [u.evidence.level_dbfs for u in said if u.evidence and u.evidence.level_dbfs is not None]
    models: Mapping[str, str] = {model.role: model.sha256 for model in report.models}
    return {
        "recording": recording,
        "call_id": _call_id(recording, facts),
        "sha256": report.recording.sha256,
        "same_as": None,
        **facts.model_dump(exclude={"call_id", "collector_channel"}),
        "duration_s": report.recording.duration,
        "channels": report.recording.channels,
        "codec": report.recording.codec,
        "verdict": [str(kind) for kind in summary.verdict],
        "awaiting_review": summary.awaiting_review,
        "utterances": len(said),
        **summary.collector.model_dump(),
        **{f"highest_{kind}": max((getattr(u.scores, kind) for u in suspect), default=0.0) for kind in KINDS},
        "collector_speech_s": summary.speech_seconds.collector,
        "borrower_speech_s": summary.speech_seconds.borrower,
        "unknown_speech_s": summary.speech_seconds.unknown,
        "asr_confidence": fmean(u.asr_confidence for u in said) if said else None,
        "level_dbfs": median(levels) if levels else None,
        "transcriber_sha256": models.get("transcriber"),
        "classifier_sha256": models.get("classifier"),
        "speakers_sha256": models.get("speakers"),
        "report": report.model_dump_json(),
    }


def _utterances(recording: str, facts: Facts, report: Report) -> list[Row]:
    return [
        {
            "recording": recording,
            "call_id": _call_id(recording, facts),
            "sha256": report.recording.sha256,
            "index": u.index,
            "channel": u.channel,
            "speaker": str(u.speaker),
            "speaker_confidence": u.speaker_confidence,
            "start_s": u.start,
            "end_s": u.end,
            "text": u.text,
            "raw_text": u.raw_text,
            "label": str(u.label),
            "labels": [str(label) for label in u.labels],
            **u.scores.model_dump(),
            "forms": [str(form) for form in u.forms],
            "asr_confidence": u.asr_confidence,
            "level_dbfs": u.evidence.level_dbfs if u.evidence else None,
            "raised_voice": u.raised_voice,
            "needs_review": u.needs_review,
            "review_reasons": list(u.review_reasons),
        }
        for u in report.utterances
    ]
