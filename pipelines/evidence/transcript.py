"""Report -> what was said, as plain text to read and as SRT subtitles to play along."""

from collections.abc import Sequence

from pipelines.evidence.exhibit import Correction
from pipelines.evidence.words import SPEAKERS, clock, kinds, probability
from pipelines.report import Report, UtterancePart


def as_text(report: Report, corrections: Sequence[Correction] = ()) -> str:
    """One utterance a line; a person's correction follows on a line of its own."""
    lines = [
        "# 机器识别的文字，可能有错；以录音为准。 Written by a machine, which errs; the recording decides.",
        "",
    ]
    for said in report.utterances:
        lines.append(f"[{clock(said.start)} - {clock(said.end)}] {_line(said)}")
        lines += [f"    {_corrected(c)}" for c in corrections if c.utterance == said.index]
    return "\n".join(lines) + "\n"


def as_srt(report: Report) -> str:
    return "\n".join(
        f"{number}\n{_srt_time(said.start)} --> {_srt_time(max(said.end, said.start + 0.5))}\n{_line(said)}\n"
        for number, said in enumerate(report.utterances, start=1)
    )


def _line(said: UtterancePart) -> str:
    mark = f" [{kinds(said.labels).both}; {probability(said).both}]" if said.labels else ""
    return f"{SPEAKERS[said.speaker].both}: {_flat(said.text)}{mark}"


def _corrected(correction: Correction) -> str:
    speaker = f" {SPEAKERS[correction.speaker].both}" if correction.speaker else ""
    text = f": {_flat(correction.text)}" if correction.text else ""
    return f"更正 corrected ({_flat(correction.by)}, {correction.at.isoformat()}){speaker}{text}"


def _flat(text: str) -> str:
    """On one line, so that nobody's words pass for a line of the transcript's own."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _srt_time(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"
