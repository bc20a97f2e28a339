"""A stored recording -> its waveform and a sound that every browser plays, redacted or as it was said.

Each is made at the first look and kept in memory for a while, never on disk: what is deleted must not outlive its
deletion, nor what is encrypted lie there in plain.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import TypeVar

from app.calls import Call
from app.config import Settings
from app.decoding import decode_limits
from app.page import bars, write_sound
from app.recordings import Recordings
from models.call import Recording
from pipelines.decode import decode
from pipelines.redaction import parts_to_silence
from pipelines.report import Report
from pipelines.silencing import Stretch, silenced

_MOST_BYTES = 96 * 2**20  # some seven hours of sound
_MOST_WAVES = 500  # some 50 kB each
_KEPT_FOR_S = 15 * 60.0
_LOCKS = 64  # two recordings may share one, and then wait for each other


Bars = tuple[tuple[float, ...], ...]  # a channel each, peaks in [0, 1]


@dataclass(frozen=True, slots=True)
class Sound:
    content: bytes  # MP3
    sha256: str


@dataclass(frozen=True, slots=True)
class Hearing:
    """A call as the one who asks may hear it. `report`: with nothing masked, to tell what is to be silent."""

    call: Call
    report: Report
    redacted: bool
    recordings: Recordings
    settings: Settings

    @contextmanager
    def decoded(self) -> Iterator[Recording]:
        """Raises CallError if it cannot be decoded, FileNotFoundError if it was deleted."""
        private = parts_to_silence(self.report) if self.redacted else []
        with (
            self.recordings.as_file(self.call.tenant_id, self.call.recording_sha256) as path,
            decode(path, decode_limits(self.settings)) as recording,
        ):
            yield silenced(recording, [Stretch(u.channel, u.start, u.end) for u in private])


@dataclass(frozen=True, slots=True)
class Listener:
    """One a process."""

    most_bytes: int = _MOST_BYTES
    kept_for_s: float = _KEPT_FOR_S
    _bars: "OrderedDict[_Key, Bars]" = field(default_factory=OrderedDict)
    _sounds: "OrderedDict[_Key, Sound]" = field(default_factory=OrderedDict)
    _all: threading.Lock = field(default_factory=threading.Lock)
    _each: tuple[threading.Lock, ...] = field(default_factory=lambda: tuple(threading.Lock() for _ in range(_LOCKS)))

    def bars(self, hearing: Hearing) -> Bars:
        """Raises as Hearing.decoded()."""
        return self._once(self._bars, hearing, _draw)

    def sound(self, hearing: Hearing) -> Sound:
        """Takes a second for some minutes of it, which the waveform does not wait for. Raises as Hearing.decoded()."""
        return self._once(self._sounds, hearing, _encode)

    def forget(self, call_id: str) -> None:
        """The call is gone."""
        for redacted in (True, False):
            self._drop((call_id, redacted))

    def _once(
        self, kept: "OrderedDict[_Key, _Made]", hearing: Hearing, make: "Callable[[Recording], _Made]"
    ) -> "_Made":
        key = (hearing.call.id, hearing.redacted)
        # A page asks for the waveform of each channel at once, and each takes all of the decoding.
        with self._each[hash((id(kept), key)) % _LOCKS]:
            with self._all:
                if key in kept:
                    kept.move_to_end(key)
                    return kept[key]
            with hearing.decoded() as recording:
                made = make(recording)
            with self._all:
                kept[key] = made
                self._make_room()
            timer = threading.Timer(self.kept_for_s, self._drop, (key,))
            timer.daemon = True
            timer.start()
            return made

    def _make_room(self) -> None:
        while len(self._sounds) > 1 and sum(len(one.content) for one in self._sounds.values()) > self.most_bytes:
            self._sounds.popitem(last=False)
        while len(self._bars) > _MOST_WAVES:
            self._bars.popitem(last=False)

    def _drop(self, key: "_Key") -> None:
        with self._all:
            self._bars.pop(key, None)
            self._sounds.pop(key, None)


_Key = tuple[str, bool]  # of a call, and whether what is private is silent
_Made = TypeVar("_Made", Bars, Sound)


def _draw(recording: Recording) -> Bars:
    return tuple(bars(channel) for channel in recording.channels)


def _encode(recording: Recording) -> Sound:
    sound = BytesIO()
    write_sound(recording, sound)
    content = sound.getvalue()
    return Sound(content, hashlib.sha256(content).hexdigest())
