"""File -> Recording: one channel per speaker, 16 kHz, read from disk by stretches."""

import hashlib
import json
import os
import signal
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOENT, ENOSPC
from io import FileIO
from math import ceil
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from models.call import SAMPLE_RATE, Channel, Recording
from models.errors import (
    BrokenRecording,
    CallError,
    DecoderLimit,
    EmptyRecording,
    NoSpace,
    TooLarge,
    TooLong,
    TooManyChannels,
    UnknownFormat,
    UnreadableFile,
)
from pipelines.decoders import run_decoder
from pipelines.pcm import FULL_SCALE, SAMPLE_TYPE

_ERRORS: dict[str, Callable[..., CallError]] = {
    error.__name__: error
    for error in (BrokenRecording, DecoderLimit, EmptyRecording, NoSpace, TooLong, TooManyChannels, UnknownFormat)
}


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """The most that one recording may be and its decoder may take."""

    longest_s: float = 3 * 3600
    largest_bytes: int = 512 * 1024**2
    memory_bytes: int = 512 * 1024**2  # address space, of which an idle decoder takes half
    cpu_s: float = 600
    wall_s: float = 1800


@contextmanager
def decode(path: Path, limits: DecodeLimits = DecodeLimits()) -> Iterator[Recording]:
    """A recording to be read inside the with block.

    Its sound lies in files without a name, so that not even kill -9 leaves anything behind.
    """
    with ExitStack() as files:
        source = files.enter_context(_opened(path, limits))
        digest = hashlib.file_digest(source, "sha256").hexdigest()
        try:
            *outputs, complaints = (files.enter_context(TemporaryFile()) for _ in range(3))
        except OSError as error:
            if error.errno not in (ENOSPC, EDQUOT, ENOENT):  # ENOENT: Python found no folder that it could write to
                raise
            raise NoSpace from None
        found = _decoded(source, outputs, complaints, limits)
        channels = [Channel(index, PcmFile(outputs[kept])) for index, kept in enumerate(found.kept)]
        yield Recording(digest, channels[0].duration, found.codec, found.source_channels, tuple(channels))


class PcmFile:
    """Samples that stay on disk; read with explicit reads, since mapped pages would count as memory in use."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._length = os.fstat(file.fileno()).st_size // SAMPLE_TYPE.itemsize

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        start, stop = max(start, 0), min(stop, self._length)
        size = max(stop - start, 0) * SAMPLE_TYPE.itemsize
        pcm = os.pread(self._file.fileno(), size, start * SAMPLE_TYPE.itemsize)
        return np.frombuffer(pcm, SAMPLE_TYPE).astype(np.float32) / np.float32(FULL_SCALE)


@dataclass(frozen=True, slots=True)
class _Found:
    codec: str
    source_channels: int
    kept: list[int]  # outputs that hold distinct channels


def _opened(path: Path, limits: DecodeLimits) -> FileIO:
    try:
        # Without waiting: a named pipe would hold the caller for ever.
        source = FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise UnreadableFile(path.name, getattr(error, "strerror", None) or str(error)) from None
    status = os.fstat(source.fileno())
    refusal: CallError | None = None
    if not stat.S_ISREG(status.st_mode):
        refusal = UnreadableFile(path.name, "not a file")
    elif not status.st_size:
        refusal = EmptyRecording()
    elif status.st_size > limits.largest_bytes:
        refusal = TooLarge(limits.largest_bytes)
    if refusal:
        source.close()
        raise refusal
    return source


def _decoded(source: FileIO, outputs: Sequence[IO[bytes]], complaints: IO[bytes], limits: DecodeLimits) -> _Found:
    order = {
        "longest_s": limits.longest_s,
        "memory_bytes": limits.memory_bytes,
        "cpu_s": ceil(limits.cpu_s),
        "file_bytes": ceil(limits.longest_s * SAMPLE_RATE) * SAMPLE_TYPE.itemsize,
    }
    descriptors = [file.fileno() for file in (source, complaints, *outputs)]
    try:
        answer, code = run_decoder(order, descriptors, limits.wall_s)
    except TimeoutError:
        raise DecoderLimit(f"after {limits.wall_s:.0f} s") from None
    if code:
        raise DecoderLimit(_cause_of_death(code, complaints))
    return _result(json.loads(answer))


def _cause_of_death(code: int, complaints: IO[bytes]) -> str:
    if code == -signal.SIGXCPU:
        return "out of processor time"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    complaints.seek(0)
    lines = complaints.read(64 * 1024).decode(errors="replace").splitlines()
    return f"it failed: {lines[-1][:200]}" if lines else f"exit status {code}"


def _result(answer: dict[str, Any]) -> _Found:
    if "error" in answer:
        raise _ERRORS[answer["error"]](*answer["facts"])
    return _Found(**answer)
