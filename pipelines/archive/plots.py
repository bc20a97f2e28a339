"""Scorecards and weeks -> plots as inline SVG."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.archive.drift import RATES, Point
from pipelines.archive.scorecards import Card
from pipelines.svg import STYLE, as_svg

_INK, _ALARM = "#1f4e79", "#b02a2a"
_SHOWN = 30


def ranking_plot(cards: Sequence[Card]) -> str:
    """Shrunken rates with their intervals, the worst at the top."""
    shown = list(reversed(cards[:_SHOWN]))
    plot = Figure(figsize=(9, 1.2 + 0.25 * len(shown)), layout="constrained")
    with mpl.rc_context(STYLE):
        panel = plot.subplots()
        rates = [card.shrunken for card in shown]
        spread = [[c.shrunken - c.shrunken_low for c in shown], [c.shrunken_high - c.shrunken for c in shown]]
        panel.errorbar(rates, range(len(shown)), xerr=spread, fmt="o", color=_INK, capsize=2, label="expected")
        panel.plot([c.rate for c in shown], range(len(shown)), "x", color="grey", label="counted")
        panel.set_yticks(range(len(shown)), [f"{card.name} ({card.calls})" for card in shown])
        panel.set(xlabel="share of calls with abuse", xlim=(0, None))
        panel.legend(loc="lower right", fontsize="small")
    return as_svg(plot)


def rates_plot(points: Sequence[Point]) -> str:
    """Share of calls with each kind by week; weeks unlike those before are marked."""
    plot = Figure(figsize=(10.5, 3.2), layout="constrained")
    with mpl.rc_context(STYLE):
        panels = plot.subplots(1, len(RATES), sharex=True)
        for panel, kind in zip(panels, RATES, strict=True):
            _line(panel, points, [point.rates[kind][0] for point in points], kind)
            low, high = ([point.rates[kind][i] for point in points] for i in (1, 2))
            panel.fill_between(range(len(points)), low, high, color=_INK, alpha=0.2)
            panel.set(title=kind, ylim=(0, None))
    return as_svg(plot)


def hearing_plot(points: Sequence[Point]) -> str:
    """Recognition confidence and level by week."""
    plot = Figure(figsize=(10.5, 3), layout="constrained")
    with mpl.rc_context(STYLE):
        panels = plot.subplots(1, 2, sharex=True)
        _line(panels[0], points, [_or_gap(p.confidence) for p in points], "asr_confidence")
        _line(panels[1], points, [_or_gap(p.level_dbfs) for p in points], "level_dbfs")
        panels[0].set(title="recognition confidence")
        panels[1].set(title="level, dBFS")
    return as_svg(plot)


def _line(panel: Axes, points: Sequence[Point], values: Sequence[float], name: str) -> None:
    panel.plot(range(len(points)), values, ".-", color=_INK)
    strange = [i for i, point in enumerate(points) if name in point.drifted]
    panel.plot(strange, [values[i] for i in strange], "o", color=_ALARM)
    step = max(1, len(points) // 6)
    panel.set_xticks(
        range(0, len(points), step), [p.monday.isoformat() for p in points[::step]], rotation=30, ha="right"
    )


def _or_gap(value: float | None) -> float:
    return float("nan") if value is None else value
