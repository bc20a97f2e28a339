"""Recording and a flagged utterance -> a WAV clip of it, with what was said just before and after."""

import io
import wave
from dataclasses import dataclass

import numpy as np

from models.call import SAMPLE_RATE, Recording, Speaker
from pipelines.pcm import SAMPLE_TYPE
from pipelines.report import Report, UtterancePart

_FULL_SCALE = 32_767


@dataclass(frozen=True, slots=True)
class Clipping:
    around_s: float = 2.0


def clip_name(utterance: UtterancePart) -> str:
    return f"clips/{utterance.index:04d}-{utterance.label}.wav"


def clip(recording: Recording, utterance: UtterancePart, clipping: Clipping = Clipping()) -> bytes:
    """WAV, 16-bit PCM at 16 kHz, the recording's channels in order."""
    length = max(len(channel.samples) for channel in recording.channels)
    begin = max(0, round((utterance.start - clipping.around_s) * SAMPLE_RATE))
    end = min(length, round((utterance.end + clipping.around_s) * SAMPLE_RATE))
    sound = np.zeros((max(0, end - begin), len(recording.channels)), np.float32)
    for place, channel in enumerate(recording.channels):
        samples = channel.samples.read(begin, end)
        sound[: len(samples), place] = samples
    held = io.BytesIO()
    with wave.open(held, "wb") as out:
        out.setnchannels(len(recording.channels))
        out.setsampwidth(SAMPLE_TYPE.itemsize)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(np.round(np.clip(sound, -1, 1) * _FULL_SCALE).astype(SAMPLE_TYPE).tobytes())
    return held.getvalue()


def flagged(report: Report) -> tuple[UtterancePart, ...]:
    """Utterances with a kind of abuse, of the collector or of a speaker who is not known."""
    return tuple(u for u in report.utterances if u.labels and u.speaker is not Speaker.BORROWER)
