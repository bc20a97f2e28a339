"""Figures -> where the marks of a chart lie; templates draw them. All in units of the chart, which is 360 wide."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from unicodedata import east_asian_width

from pipelines.intervals import wilson

WIDTH = 360.0
_ROW = 42.0  # a line of words and a bar below it
_COLUMNS_WIDE = 26  # of a name, counting a Chinese character as two
_PLOT = 150.0
_UPRIGHT = 10
_TOP, _BOTTOM = 36.0, 34.0


@dataclass(frozen=True, slots=True)
class Rate:
    """`hits` of `of`, with Wilson's 95 % interval."""

    name: str
    hits: int
    of: int

    @property
    def share(self) -> float:
        return self.hits / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.of)


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    share: float


@dataclass(frozen=True, slots=True)
class Row:
    rate: Rate
    short: str  # its name, as much as fits
    y: float  # of the line of words; the bar is below
    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Forest:
    """One rate a row, and across all rows the rate of all calls."""

    rows: tuple[Row, ...]
    ticks: tuple[Tick, ...]
    overall: float
    height: float


@dataclass(frozen=True, slots=True)
class Week:
    rate: Rate
    x: float
    low: float
    middle: float
    high: float
    dated: bool  # its date fits below
    told: bool  # its rate fits above


@dataclass(frozen=True, slots=True)
class Weeks:
    points: tuple[Week, ...]
    ticks: tuple[Tick, ...]
    line: str
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    name: str
    count: int
    marked: bool  # it is what the rule forbids
    x: float
    y: float
    width: float
    height: float
    named: bool


@dataclass(frozen=True, slots=True)
class Bars:
    bars: tuple[Bar, ...]
    upright: bool  # the counts fit above their bars as they are; else they are turned
    base: float
    height: float


@dataclass(frozen=True, slots=True)
class Split:
    """A bar in two parts: what people confirmed, and what they did not."""

    name: str
    confirmed: int
    of: int
    y: float
    part: float
    whole: float


def forest(rates: Sequence[Rate], overall: Rate) -> Forest:
    """Rows in the order in which they are given."""
    scale, ticks = _axis([overall.share, *(rate.interval[1] for rate in rates)])
    rows = []
    for place, rate in enumerate(rates):
        low, high = rate.interval
        rows.append(Row(rate, shortened(rate.name), place * _ROW + 14, low * scale, rate.share * scale, high * scale))
    marks = tuple(Tick(share * scale, share) for share in ticks)
    return Forest(tuple(rows), marks, overall.share * scale, len(rates) * _ROW + 24)


def weeks(rates: Sequence[Rate]) -> Weeks:
    """Oldest first; those without calls have a place and no mark."""
    scale, ticks = _axis([rate.interval[1] for rate in rates if rate.of])
    tall, left = _PLOT / WIDTH, 36.0
    step = (WIDTH - left - 14) / max(1, len(rates))

    def y(share: float) -> float:
        return _TOP + _PLOT - share * scale * tall

    every = ceil(len(rates) / 6)
    highest = max(range(len(rates)), key=lambda i: rates[i].share, default=0)
    points = []
    for place, rate in enumerate(rates):
        low, high = rate.interval
        told = len(rates) <= 8 or place in (0, highest, len(rates) - 1)
        x = left + step * (place + 0.5)
        points.append(Week(rate, x, y(low), y(rate.share), y(high), (len(rates) - 1 - place) % every == 0, told))
    line = " ".join(f"{point.x:.1f},{point.middle:.1f}" for point in points if point.rate.of)
    return Weeks(tuple(points), tuple(Tick(y(share), share) for share in ticks), line, _TOP + _PLOT + _BOTTOM)


def bars(counts: Sequence[tuple[str, int, bool]], named_every: int = 1) -> Bars:
    """Of each: its name, how many, and whether a rule forbids it."""
    most = max((count for _, count, _ in counts), default=0) or 1
    step = WIDTH / max(1, len(counts))
    made = []
    for place, (name, count, marked) in enumerate(counts):
        height = max(_PLOT * count / most, 2.0) if count else 0.0
        x, width = place * step + step * 0.1, step * 0.8
        made.append(Bar(name, count, marked, x, _TOP + _PLOT - height, width, height, place % named_every == 0))
    return Bars(tuple(made), len(counts) <= _UPRIGHT, _TOP + _PLOT, _TOP + _PLOT + _BOTTOM)


def splits(parts: Sequence[tuple[str, int, int]]) -> tuple[Split, ...]:
    """Of each: its name, how many were confirmed, and of how many."""
    most = max((of for _, _, of in parts), default=0) or 1
    return tuple(
        Split(name, confirmed, of, place * _ROW + 14, WIDTH * confirmed / most, WIDTH * of / most)
        for place, (name, confirmed, of) in enumerate(parts)
    )


def shortened(name: str, columns: int = _COLUMNS_WIDE) -> str:
    taken = 0
    for place, character in enumerate(name):
        taken += 2 if east_asian_width(character) in "WF" else 1
        if taken > columns:
            return name[: max(1, place - 1)] + "…"
    return name


def _axis(shares: Sequence[float]) -> tuple[float, tuple[float, ...]]:
    """Units a share of 1 is long, and where to put marks: three or four round ones, of which the last is the end."""
    most = min(1.0, max(max(shares, default=0.0), 0.01))
    step = _round_up(most / 4)
    marks = [i * step for i in range(ceil(most / step - 1e-9) + 1)]
    end = min(marks[-1], 1.0)
    return WIDTH / end, tuple(mark for mark in marks if mark <= end + 1e-9)


def _round_up(step: float) -> float:
    size = 10.0 ** floor(log10(step))
    return float(next(size * nice for nice in (1, 2, 2.5, 5, 10) if size * nice >= step - 1e-12))
