"""Report and its recording -> one self-contained HTML page: waveform, flagged utterances, sound."""

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import IO

import av
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from models.call import KINDS, SAMPLE_RATE, Channel, Recording
from pipelines.peaks import peaks
from pipelines.report import Report

WAVEFORM_BARS = 600
_BLOCK_S = 60
# LAME's fast setting: an hour takes half the time.
_MP3 = {"b": "32000", "compression_level": "7"}


@dataclass(frozen=True, slots=True)
class Call:
    """What one section of the page shows."""

    name: str
    report: Report
    bars: tuple[tuple[float, ...], ...]  # of every channel, peak of each stretch in [0, 1]
    sound: str  # data: URL


def call(name: str, report: Report, recording: Recording) -> Call:
    sound = io.BytesIO()
    write_sound(recording, sound)
    shown = "data:audio/mpeg;base64," + base64.b64encode(sound.getvalue()).decode()
    return Call(name, report, tuple(bars(channel) for channel in recording.channels), shown)


def render(calls: Sequence[Call]) -> str:
    """The page loads nothing and runs its one script only, whatever a transcript holds."""
    environment = Environment(
        loader=PackageLoader("app", "templates"), autoescape=select_autoescape(), undefined=StrictUndefined
    )
    script = (resources.files("app") / "templates" / "report.js").read_text("utf8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        calls=calls, bars=WAVEFORM_BARS, kinds=KINDS, script=script, script_hash=f"sha256-{digest}"
    )


def bars(channel: Channel) -> tuple[float, ...]:
    """Peak of each of WAVEFORM_BARS stretches, in [0, 1] of the loudest."""
    return tuple(round(peak, 3) for peak in peaks(channel, WAVEFORM_BARS))


def write_sound(recording: Recording, file: IO[bytes]) -> None:
    """Mixed to mono MP3 of one bit rate: every browser plays it and jumps in it; AMR and SILK none does."""
    with av.open(file, "w", format="mp3") as out:
        stream = out.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono", options=_MP3)
        length = len(recording.channels[0].samples)
        for begin in range(0, length, _BLOCK_S * SAMPLE_RATE):
            end = min(length, begin + _BLOCK_S * SAMPLE_RATE)
            mixed = np.mean([channel.samples.read(begin, end) for channel in recording.channels], axis=0)
            samples = (np.clip(mixed, -1, 1) * 32_767).astype(np.int16)[np.newaxis]
            frame = av.AudioFrame.from_ndarray(samples, "s16p", "mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, begin
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
