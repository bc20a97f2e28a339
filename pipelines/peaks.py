"""Sound of a channel -> the bars of a waveform."""

from itertools import pairwise

import numpy as np

from models.call import Channel


def peaks(channel: Channel, bars: int) -> list[float]:
    """Of each of `bars` stretches of like length, in [0, 1] of the loudest."""
    edges = np.linspace(0, len(channel.samples), bars + 1).astype(int)
    found = [float(np.abs(channel.samples.read(a, b)).max(initial=0.0)) for a, b in pairwise(edges)]
    loudest = max(found) or 1.0
    return [peak / loudest for peak in found]
