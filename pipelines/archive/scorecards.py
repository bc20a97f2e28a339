"""Counts -> rates that few calls do not distort, a fair ranking, and whether they change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import exp, log, sqrt

import numpy as np

from pipelines.archive.tallies import ANY, Tally
from pipelines.intervals import wilson

_RECENT_WEEKS = 4
_SHARPEST, _BLUNTEST = log(1e6), log(0.5)


@dataclass(frozen=True, slots=True)
class Prior:
    """What the rates of all names are like: a beta distribution. Between names that do not differ it is sharp."""

    mean: float
    calls: float  # that it weighs as much as


@dataclass(frozen=True, slots=True)
class Change:
    """Rate of the last four weeks less the rate before, with its 95 % interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Card:
    """`rate` with Wilson's interval is what was counted; `shrunken` what is to be expected, 95 % credible."""

    name: str
    rank: int  # from the worst, by what its rate is at least (95 %)
    calls: int
    seconds: float
    flagged: int
    rate: float
    low: float
    high: float
    shrunken: float
    shrunken_low: float
    shrunken_high: float
    change: Change | None
    by_kind: Mapping[str, int]


def fit(counts: Sequence[tuple[int, int]]) -> Prior:
    """Of flagged and all calls of every name: the beta distribution under which the counts are likeliest."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - slow to load, and of no use without names
    from scipy.special import betaln  # noqa: PLC0415

    flagged = np.array([k for k, _ in counts], float)
    calls = np.array([n for _, n in counts], float)
    mean = float((flagged.sum() + 0.5) / (calls.sum() + 1))

    def unlikely(sharpness: float) -> float:
        a, b = mean * exp(sharpness), (1 - mean) * exp(sharpness)
        return -float(np.sum(betaln(flagged + a, calls - flagged + b) - betaln(a, b)))

    best = minimize_scalar(unlikely, bounds=(_BLUNTEST, _SHARPEST), method="bounded")
    return Prior(mean, exp(float(best.x)))


def scorecards(
    tallies: Mapping[str, Tally], of_week: Mapping[str, Mapping[date, Tally]], kind: str = ANY
) -> list[Card]:
    """Worst first. The rank is by the lower end, so that bad luck in few calls puts nobody at the top."""
    if not tallies:
        return []
    from scipy.special import betaincinv  # noqa: PLC0415 - as in fit

    prior = fit([(found.flagged[kind], found.calls) for found in tallies.values()])
    weeks = sorted({monday for by_week in of_week.values() for monday in by_week})
    recent = set(weeks[-_RECENT_WEEKS:]) if len(weeks) > _RECENT_WEEKS else set()
    cards = []
    for name, found in tallies.items():
        flagged, calls = found.flagged[kind], found.calls
        a, b = prior.mean * prior.calls + flagged, (1 - prior.mean) * prior.calls + calls - flagged
        low, high = wilson(flagged, calls)
        cards.append(
            Card(
                name=name,
                rank=0,
                calls=calls,
                seconds=found.seconds,
                flagged=flagged,
                rate=flagged / calls,
                low=low,
                high=high,
                shrunken=a / (a + b),
                shrunken_low=float(betaincinv(a, b, 0.025)),
                shrunken_high=float(betaincinv(a, b, 0.975)),
                change=_change(of_week.get(name, {}), recent, kind),
                by_kind=dict(found.flagged),
            )
        )
    cards.sort(key=lambda card: (-card.shrunken_low, card.name))
    return [replace(card, rank=rank) for rank, card in enumerate(cards, start=1)]


def _change(by_week: Mapping[date, Tally], recent: set[date], kind: str) -> Change | None:
    """Newcombe's interval of the difference; None without calls on both sides."""
    now = [t for monday, t in by_week.items() if monday in recent]
    then = [t for monday, t in by_week.items() if monday not in recent]
    if not now or not then or not recent:
        return None
    k1, n1 = sum(t.flagged[kind] for t in now), sum(t.calls for t in now)
    k0, n0 = sum(t.flagged[kind] for t in then), sum(t.calls for t in then)
    (l1, u1), (l0, u0) = wilson(k1, n1), wilson(k0, n0)
    p1, p0 = k1 / n1, k0 / n0
    below, above = sqrt((p1 - l1) ** 2 + (u0 - p0) ** 2), sqrt((u1 - p1) ** 2 + (p0 - l0) ** 2)
    return Change(p1 - p0, p1 - p0 - below, p1 - p0 + above)
