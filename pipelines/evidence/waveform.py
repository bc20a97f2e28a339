"""Recording and report -> one SVG a channel: the sound's peaks, and where what was flagged lies."""

from xml.sax.saxutils import escape

from models.call import KINDS, Channel, Label, Recording
from pipelines.peaks import peaks
from pipelines.report import Report, accused

_BARS = 600
_HEIGHT = 60
_BAND = 20

# Of the three, each has its own place and its own pattern, for those who see no colours and for grey printers.
COLOURS = {Label.THREAT: "#b3261e", Label.INSULT: "#8a5a00", Label.THIRD_PARTY_CONTACT: "#0b57a4"}


def waveform(recording: Recording, report: Report) -> tuple[str, ...]:
    return tuple(_drawn(channel, report) for channel in recording.channels)


def _drawn(channel: Channel, report: Report) -> str:
    bars = "".join(f"M{at + 0.5} {30 - 28 * p:.1f}V{30 + 28 * p:.1f}" for at, p in enumerate(peaks(channel, _BARS)))
    per_second = _BARS / (report.recording.duration or 1.0)
    marks = []
    for said in accused(report.utterances):
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
