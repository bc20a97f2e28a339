"""Recording and report -> one SVG a channel: the sound's peaks, and where what was flagged lies."""

from itertools import pairwise
from xml.sax.saxutils import escape

import numpy as np

from models.call import KINDS, Channel, Label, Recording
from pipelines.evidence.clips import flagged
from pipelines.report import Report

_BARS = 600
_HEIGHT = 60
_BAND = 20

# Of the three, each has its own place and its own pattern, for those who see no colours and for grey printers.
COLOURS = {Label.THREAT: "#b3261e", Label.INSULT: "#8a5a00", Label.THIRD_PARTY_CONTACT: "#0b57a4"}


def waveform(recording: Recording, report: Report) -> tuple[str, ...]:
    return tuple(_drawn(channel, report) for channel in recording.channels)


def _drawn(channel: Channel, report: Report) -> str:
    bars = "".join(f"M{at + 0.5} {30 - 28 * p:.1f}V{30 + 28 * p:.1f}" for at, p in enumerate(_peaks(channel)))
    per_second = _BARS / (report.recording.duration or 1.0)
    marks = []
    for said in flagged(report):
        if said.channel != channel.index:
            continue
        for kind in said.labels:
            x, width = said.start * per_second, max(1.5, (said.end - said.start) * per_second)
            place = f'x="{x:.2f}" y="{_BAND * KINDS.index(kind)}" width="{width:.2f}" height="{_BAND}"'
            marks.append(f'<rect {place} fill="{COLOURS[kind]}" fill-opacity="0.45" stroke="{COLOURS[kind]}"/>')
    size = f'viewBox="0 0 {_BARS} {_HEIGHT}" preserveAspectRatio="none"'
    ground = f'<rect width="{_BARS}" height="{_HEIGHT}" fill="#f4f4f4"/>'
    label = escape(f"channel {channel.index}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">{ground}'
        f'<path stroke="#444" stroke-width="0.8" d="{bars or "M0 30"}"/>{"".join(marks)}</svg>'
    )


def _peaks(channel: Channel) -> list[float]:
    """Of each of as many stretches as there are bars, in [0, 1] of the loudest."""
    edges = np.linspace(0, len(channel.samples), _BARS + 1).astype(int)
    peaks = [float(np.abs(channel.samples.read(a, b)).max(initial=0.0)) for a, b in pairwise(edges)]
    loudest = max(peaks) or 1.0
    return [peak / loudest for peak in peaks]
