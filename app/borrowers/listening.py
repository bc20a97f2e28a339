"""A stored recording -> its waveform and a sound that every browser plays; each made at the first look, then kept."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import cast

import sqlalchemy as sa

from app import cases
from app.cases import CaseRecording
from app.config import Settings
from app.decoding import decode_limits
from app.incoming import persist
from app.page import bars, write_sound
from app.recordings import Recordings
from models.call import Recording
from pipelines.decode import decode

_ONE_AT_A_TIME = 64  # locks; two recordings may share one, and then wait for each other


@dataclass(frozen=True, slots=True)
class Sound:
    """A stored MP3."""

    sha256: str
    bytes: int


def new_locks() -> list[threading.Lock]:
    """Shared by all listeners of a process."""
    return [threading.Lock() for _ in range(_ONE_AT_A_TIME)]


@dataclass(frozen=True, slots=True)
class Listener:
    settings: Settings
    database: sa.Engine
    recordings: Recordings
    locks: list[threading.Lock]

    def bars(self, case_id: str, recording: CaseRecording) -> list[list[float]]:
        """Of each channel, peaks in [0, 1]. Raises CallError if it cannot be read, FileNotFoundError if it is gone."""
        with self._alone("bars", recording):
            kept = cases.bars(self.database, case_id, recording.call_id)
            if kept is not None:
                return cast(list[list[float]], json.loads(kept))
            with self._decoded(case_id, recording) as decoded:
                drawn = [list(bars(channel)) for channel in decoded.channels]
            cases.keep_bars(self.database, case_id, recording.call_id, json.dumps(drawn))
            return drawn

    def sound(self, case_id: str, recording: CaseRecording) -> Sound:
        """Takes a second for some minutes of it, which the waveform does not wait for. Raises as bars()."""
        with self._alone("sound", recording):
            kept = cases.sound(self.database, case_id, recording.call_id)
            return Sound(*kept) if kept is not None else self._make_sound(case_id, recording)

    def _make_sound(self, case_id: str, recording: CaseRecording) -> Sound:
        with self._decoded(case_id, recording) as decoded, _temporary(self.recordings.incoming) as path:
            with path.open("w+b") as file:
                write_sound(decoded, file)
                persist(file)
                file.seek(0)
                made = Sound(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)
            cases.keep_sound(
                self.database,
                case_id,
                recording.call_id,
                sha256=made.sha256,
                size=made.bytes,
                place=lambda: self.recordings.keep(path, case_id, made.sha256),
            )
        return made

    def _alone(self, what: str, recording: CaseRecording) -> threading.Lock:
        """A page asks for the waveform of each channel at once, and each takes all of the decoding."""
        return self.locks[hash((what, recording.call_id)) % _ONE_AT_A_TIME]

    @contextmanager
    def _decoded(self, case_id: str, recording: CaseRecording) -> Iterator[Recording]:
        with (
            self.recordings.as_file(case_id, recording.recording_sha256) as path,
            decode(path, decode_limits(self.settings)) as decoded,
        ):
            yield decoded


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    with NamedTemporaryFile(dir=folder, delete=False) as file:
        path = Path(file.name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
