"""Recording and a flagged utterance -> a WAV clip of it, with what was said just before and after."""

import io
from dataclasses import dataclass

from models.call import SAMPLE_RATE, Recording
from pipelines.report import UtterancePart
from pipelines.wav import as_pcm, frames_between, open_wav


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
    held = io.BytesIO()
    with open_wav(held, len(recording.channels)) as out:
        out.writeframes(as_pcm(frames_between(recording, begin, end)))
    return held.getvalue()
