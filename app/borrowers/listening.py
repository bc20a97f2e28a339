"""A stored recording -> its waveform and a sound that every browser plays; made at the first look, then kept."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import sqlalchemy as sa

from app import cases
from app.cases import CaseRecording
from app.config import Settings
from app.decoding import decode_limits
from app.incoming import persist
from app.page import bars, write_sound
from app.recordings import Recordings
from pipelines.decode import decode

_ONE_AT_A_TIME = 64  # locks; two recordings may share one, and then wait for each other


@dataclass(frozen=True, slots=True)
class Listening:
    bars: tuple[tuple[float, ...], ...]  # a channel each, peaks in [0, 1]
    sound_sha256: str
    sound_bytes: int


def new_locks() -> list[threading.Lock]:
    """Shared by all listeners of a process."""
    return [threading.Lock() for _ in range(_ONE_AT_A_TIME)]


@dataclass(frozen=True, slots=True)
class Listener:
    settings: Settings
    database: sa.Engine
    recordings: Recordings
    locks: list[threading.Lock]

    def of(self, case_id: str, recording: CaseRecording) -> Listening:
        """Raises CallError if it cannot be decoded, FileNotFoundError if it was deleted."""
        # A page asks for waveform and sound at once, and each takes all of the decoding.
        with self.locks[hash(recording.call_id) % _ONE_AT_A_TIME]:
            return self._kept(case_id, recording) or self._make(case_id, recording)

    def _kept(self, case_id: str, recording: CaseRecording) -> Listening | None:
        kept = cases.listening(self.database, case_id, recording.call_id)
        return kept and Listening(tuple(tuple(channel) for channel in json.loads(kept[0])), kept[1], kept[2])

    def _make(self, case_id: str, recording: CaseRecording) -> Listening:
        with (
            self.recordings.as_file(case_id, recording.recording_sha256) as path,
            decode(path, decode_limits(self.settings)) as decoded,
            _temporary(self.recordings.incoming) as sound,
        ):
            drawn = tuple(bars(channel) for channel in decoded.channels)
            with sound.open("w+b") as file:
                write_sound(decoded, file)
                persist(file)
                file.seek(0)
                sha256, size = hashlib.file_digest(file, "sha256").hexdigest(), sound.stat().st_size
            cases.keep_listening(
                self.database,
                case_id,
                recording.call_id,
                bars=json.dumps(drawn),
                sound=(sha256, size),
                place_sound=lambda: self.recordings.keep(sound, case_id, sha256),
            )
        return Listening(drawn, sha256, size)


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    with NamedTemporaryFile(dir=folder, delete=False) as file:
        path = Path(file.name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
