"""A stored recording -> its waveform and a sound that every browser plays, redacted or as it was said.

Made at the first look and kept in memory for a while, never on disk: what is deleted must not outlive its deletion, nor
what is encrypted lie there in plain.
"""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from io import BytesIO

from app.calls import Call
from app.config import Settings
from app.decoding import decode_limits
from app.page import bars, write_sound
from app.recordings import Recordings
from pipelines.decode import decode
from pipelines.redaction import parts_to_silence
from pipelines.report import Report
from pipelines.silencing import Stretch, silenced

_MOST_BYTES = 96 * 2**20  # some seven hours of sound
_KEPT_FOR_S = 15 * 60.0
_LOCKS = 64  # two recordings may share one, and then wait for each other


@dataclass(frozen=True, slots=True)
class Listening:
    bars: tuple[tuple[float, ...], ...]  # a channel each, peaks in [0, 1]
    sound: bytes  # MP3
    sha256: str


@dataclass(frozen=True, slots=True)
class Listener:
    """One a process."""

    most_bytes: int = _MOST_BYTES
    kept_for_s: float = _KEPT_FOR_S
    _kept: "OrderedDict[tuple[str, bool], Listening]" = field(default_factory=OrderedDict)
    _all: threading.Lock = field(default_factory=threading.Lock)
    _each: tuple[threading.Lock, ...] = field(default_factory=lambda: tuple(threading.Lock() for _ in range(_LOCKS)))

    def of(self, call: Call, report: Report, redacted: bool, recordings: Recordings, settings: Settings) -> Listening:
        """Raises CallError if it cannot be decoded, FileNotFoundError if it was deleted."""
        key = (call.id, redacted)
        # A page asks for waveform and sound at once, and each takes all of the decoding.
        with self._each[hash(key) % _LOCKS]:
            with self._all:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            made = _make(call, report, redacted, recordings, settings)
            self._keep(key, made)
            return made

    def forget(self, call_id: str) -> None:
        """The call is gone."""
        for redacted in (True, False):
            self._drop((call_id, redacted))

    def _keep(self, key: tuple[str, bool], made: Listening) -> None:
        with self._all:
            self._kept[key] = made
            while len(self._kept) > 1 and sum(len(one.sound) for one in self._kept.values()) > self.most_bytes:
                self._kept.popitem(last=False)
        timer = threading.Timer(self.kept_for_s, self._drop, (key,))
        timer.daemon = True
        timer.start()

    def _drop(self, key: tuple[str, bool]) -> None:
        with self._all:
            self._kept.pop(key, None)


def _make(call: Call, report: Report, redacted: bool, recordings: Recordings, settings: Settings) -> Listening:
    private = parts_to_silence(report) if redacted else []
    sound = BytesIO()
    with (
        recordings.as_file(call.tenant_id, call.recording_sha256) as path,
        decode(path, decode_limits(settings)) as recording,
    ):
        quiet = silenced(recording, [Stretch(u.channel, u.start, u.end) for u in private])
        drawn = tuple(bars(channel) for channel in quiet.channels)
        write_sound(quiet, sound)
    content = sound.getvalue()
    return Listening(drawn, content, hashlib.sha256(content).hexdigest())
