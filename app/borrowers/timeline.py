"""Recordings with the dates that borrowers tell -> days, the calls of each against the limits of hours and count."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time

from app.borrowers.rules import Limits
from app.cases import CaseRecording


@dataclass(frozen=True, slots=True)
class When:
    """When a call was, as far as it is told. `stated`: the borrower says so, else the file's own date does."""

    day: date
    at: time | None
    stated: bool


@dataclass(frozen=True, slots=True)
class Entry:
    recording: CaseRecording
    number: int  # of the recording in the case, from 1
    when: When
    at_night: bool


@dataclass(frozen=True, slots=True)
class Day:
    day: date
    entries: tuple[Entry, ...]
    over_limit: bool

    @property
    def at_night(self) -> int:
        return sum(entry.at_night for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Timeline:
    days: tuple[Day, ...]
    undated: int

    @property
    def at_night(self) -> int:
        return sum(day.at_night for day in self.days)

    @property
    def days_over_limit(self) -> int:
        return sum(day.over_limit for day in self.days)


def when(recording: CaseRecording) -> When | None:
    told = recording.told
    if told.called_on:
        return When(date.fromisoformat(told.called_on), _time(told.called_time), stated=True)
    if told.file_time:
        day, _, clock = told.file_time.partition("T")
        return When(date.fromisoformat(day), _time(told.called_time or clock), stated=False)
    return None


def timeline(recordings: Sequence[CaseRecording], limits: Limits) -> Timeline:
    dated: dict[date, list[Entry]] = {}
    undated = 0
    for number, recording in enumerate(recordings, 1):
        found = when(recording)
        if found is None:
            undated += 1
            continue
        night = found.at is not None and limits.at_night(found.at)
        dated.setdefault(found.day, []).append(Entry(recording, number, found, night))
    days = []
    for day in sorted(dated):
        entries = tuple(sorted(dated[day], key=lambda entry: entry.when.at or time.max))
        days.append(Day(day, entries, len(entries) > limits.calls_per_day))
    return Timeline(tuple(days), undated)


def _time(written: str) -> time | None:
    return time.fromisoformat(written) if written else None
