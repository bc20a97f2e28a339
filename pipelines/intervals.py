"""Counts -> the interval in which a rate lies."""

from math import sqrt

_Z95 = 1.959963984540054


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share; right also for few trials and for shares near 0 and 1. Without trials: 0 to 1."""
    if not trials:
        return 0.0, 1.0
    share, square = successes / trials, _Z95**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    half = _Z95 / (1 + square / trials) * sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    return max(0.0, middle - half), min(1.0, middle + half)
