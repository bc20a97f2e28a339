"""Counts by week -> which weeks are unlike those before them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from models.call import KINDS
from pipelines.archive.tallies import ANY, Tally, Week
from pipelines.intervals import wilson

RATES = (ANY, *(str(kind) for kind in KINDS))


@dataclass(frozen=True, slots=True)
class Watching:
    """What is a drift. Rates: the week's 95 % interval and that of all weeks before do not meet."""

    confidence_by: float = 0.05  # mean word probability
    level_by_db: float = 3.0
    least_calls: int = 20  # of a week, and of those before


@dataclass(frozen=True, slots=True)
class Point:
    """`rates`: of calls with each kind, as rate, low, high. `drifted`: what is unlike before."""

    monday: date
    calls: int
    rates: Mapping[str, tuple[float, float, float]]
    confidence: float | None
    level_dbfs: float | None
    drifted: tuple[str, ...]


def drift(weeks: Mapping[date, Week], watching: Watching | None = None) -> list[Point]:
    """In order of time."""
    chosen = watching or Watching()
    before = Week()
    points = []
    for monday in sorted(weeks):
        week = weeks[monday]
        enough = min(week.tally.calls, before.tally.calls) >= chosen.least_calls
        rates = {kind: (week.tally.flagged[kind] / week.tally.calls, *_interval(week.tally, kind)) for kind in RATES}
        drifted = tuple(_drifted(week, before, chosen)) if enough else ()
        points.append(Point(monday, week.tally.calls, rates, week.confidence, week.level_dbfs, drifted))
        _add(before, week)
    return points


def _drifted(week: Week, before: Week, watching: Watching) -> Iterator[str]:
    for kind in RATES:
        low, high = _interval(week.tally, kind)
        least, most = _interval(before.tally, kind)
        if low > most or high < least:
            yield kind
    for name, now, then, by in (
        ("asr_confidence", week.confidence, before.confidence, watching.confidence_by),
        ("level_dbfs", week.level_dbfs, before.level_dbfs, watching.level_by_db),
    ):
        if now is not None and then is not None and abs(now - then) > by:
            yield name


def _interval(tally: Tally, kind: str) -> tuple[float, float]:
    return wilson(tally.flagged[kind], tally.calls)


def _add(before: Week, week: Week) -> None:
    before.tally.calls += week.tally.calls
    before.tally.flagged.update(week.tally.flagged)
    for total, part in ((before.confidences, week.confidences), (before.levels, week.levels)):
        total[0] += part[0]
        total[1] += part[1]
