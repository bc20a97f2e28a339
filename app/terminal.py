"""Report -> a table for people; share done -> a progress bar, if a person waits long enough to want one."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from models.call import Label, Speaker
from pipelines.report import Report, UtterancePart

_SHOW_AFTER_S = 2.0
_WIDTH_IN_FILES = 160
_STYLES = {Label.THREAT: "bold red", Label.INSULT: "bold magenta", Label.THIRD_PARTY_CONTACT: "bold yellow"}


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH_IN_FILES, highlight=False)


def report_table(name: str, report: Report) -> Table:
    table = Table(title=Text(name), title_justify="left")
    for heading in ("start", "end"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("speaker", "label"):
        table.add_column(heading, no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("text", overflow="fold")
    for utterance in report.utterances:
        style = "" if utterance.speaker is Speaker.BORROWER else _STYLES.get(utterance.label, "")
        table.add_row(
            f"{utterance.start:.2f}",
            f"{utterance.end:.2f}",
            utterance.speaker,
            utterance.label + (" (to review)" if utterance.needs_review else ""),
            f"{_probability(utterance):.2f}",
            Text(utterance.text),
            style=style,
        )
    return table


def summary_line(report: Report) -> str:
    found = ", ".join(report.summary.verdict) or "no abuse found"
    waiting = report.summary.awaiting_review
    review = f"; {waiting} to be heard by a person" if waiting else ""
    return f"{report.recording.duration:.1f} s, {len(report.utterances)} utterances: {found}{review}"


def _probability(utterance: UtterancePart) -> float:
    """Of the label that is shown."""
    scores: dict[str, float] = utterance.scores.model_dump()
    return scores[utterance.label] if utterance.label in scores else 1 - max(scores.values())


class ProgressBar:
    """On standard error, only if that is a terminal, and only for what takes more than two seconds."""

    def __init__(self, name: str) -> None:
        self._wanted = sys.stderr.isatty()
        self._shown = False
        self._began = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(name, total=1.0)

    def __call__(self, share: float) -> None:
        if self._wanted and time.monotonic() - self._began > _SHOW_AFTER_S:
            self._shown = True
            self._progress.start()
            self._progress.update(self._task, completed=share)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._progress.stop()
