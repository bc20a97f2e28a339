"""Speakers by pyannote.audio, for those who have it and its models; an extra that is not installed by default."""

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from models.call import SAMPLE_RATE, Channel
from models.errors import ModelNotFound
from models.speakers import Span, Voiced
from models.weights import Weights, sha256_of

_SETTING = "CALLAUDIT_SPEAKERS"
_DEFAULT = "pyannote/speaker-diarization-community-1"
_LOG_ODDS = 4.0  # pyannote tells no probability


class Pyannote:
    """pyannote's own pipeline for two speakers. Reads the whole channel into memory."""

    def __init__(self, name: str = "pyannote", device: str = "auto") -> None:
        """`name`: pyannote, or pyannote:FOLDER, or pyannote:NAME of the hub. Raises ModelNotFound."""
        os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
        kind, _, chosen = name.partition(":")
        if kind != "pyannote":
            raise ModelNotFound(_SETTING, name, "there is no such way; it must be off, embeddings or pyannote")
        chosen = chosen or _DEFAULT
        try:
            import torch  # noqa: PLC0415 - only this way of telling speakers needs it
            from pyannote.audio import Pipeline  # noqa: PLC0415
        except ImportError as error:
            raise ModelNotFound(
                _SETTING, name, f"{error.name} is not installed (pip install 'callaudit[pyannote]')"
            ) from error
        try:
            self._pipeline = Pipeline.from_pretrained(chosen)
        except Exception as error:  # hub, file and version errors alike
            raise ModelNotFound(_SETTING, name, f"pyannote cannot load it ({error})") from error
        if self._pipeline is None:
            raise ModelNotFound(_SETTING, name, "pyannote cannot load it; its hub wants its conditions accepted")
        on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self._pipeline.to(torch.device("cuda" if on_gpu else "cpu"))
        self._torch = torch
        self.weights = weights_of(chosen)

    def __call__(self, channel: Channel, speech: Sequence[Span]) -> list[Voiced]:
        sound = channel.samples.read(0, len(channel.samples))
        waveform = self._torch.from_numpy(np.ascontiguousarray(sound))[None]
        found = self._pipeline({"waveform": waveform, "sample_rate": SAMPLE_RATE}, max_speakers=2)
        turns = getattr(found, "speaker_diarization", found).itertracks(yield_label=True)
        return voices([(float(turn.start), float(turn.end), str(label)) for turn, _, label in turns], speech)


def voices(turns: Sequence[tuple[float, float, str]], speech: Sequence[Span]) -> list[Voiced]:
    """Of turns (start, end, name) what lies within the spans of speech; empty where it has not two names."""
    within = [
        (max(start, first), min(end, last), name)
        for start, end, name in turns
        for first, last in speech
        if min(end, last) > max(start, first)
    ]
    names = sorted({name for _, _, name in within})
    if len(names) != 2:
        return []
    return [Voiced(start, end, _LOG_ODDS if name == names[1] else -_LOG_ODDS) for start, end, name in sorted(within)]


def weights_of(name: str) -> Weights:
    """Hashes a folder's files. The hub's models lie in its cache under many names, so the name and the program's
    version stand for them.
    """
    try:
        release = version("pyannote.audio")
    except PackageNotFoundError:
        release = "unknown"
    if Path(name).is_dir():
        return Weights(Path(name), name, release, sha256_of(Path(name), "**/*"))
    return Weights(Path(name), name, release, hashlib.sha256(f"{name} {release}".encode()).hexdigest())
