"""One recording or transcript -> its outcome, as text that travels between processes and machines."""

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import fsspec
from pydantic import BaseModel

from models.classifier import Classifier
from models.errors import CallError, ModelError, NoSpace, UnreadableFile
from pipelines.archive.transcripts import judge_all, read_transcript
from pipelines.decode import DecodeLimits, decode
from pipelines.report import Report
from pipelines.score import Engine, score

_CHUNK = 2**20
_LONGEST_SIDECAR = 2**20


class Outcome(BaseModel):
    """`report`, or `error` with its `reason`; `stops` says that every further recording would fare the same."""

    report: Report | None = None
    error: str | None = None
    reason: str | None = None
    stops: bool = False
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Task:
    place: str
    collector_channel: int | None


def fingerprint(place: str) -> str:
    """SHA-256 of the bytes. Raises UnreadableFile."""
    with _reading(place), opened(place) as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


def read_small(place: str) -> bytes | None:
    """Of a sidecar; None if there is none, or if it is too large to be one."""
    try:
        with opened(place) as file:
            content = file.read(_LONGEST_SIDECAR + 1)
    except OSError:
        return None
    return content if len(content) <= _LONGEST_SIDECAR else None


def score_place(task: Task, engine: Engine, limits: DecodeLimits) -> Outcome:
    began = time.perf_counter()
    try:
        with _as_file(task.place) as path, decode(path, limits) as recording:
            report = score(recording, engine, task.collector_channel)
    except CallError as error:
        return _failed(error, began)
    return Outcome(report=report, took_s=time.perf_counter() - began)


def judge_places(tasks: Sequence[Task], classifier: Classifier) -> list[Outcome]:
    """Of transcripts, whose utterances go through the classifier together."""
    began = time.perf_counter()
    outcomes: dict[int, Outcome] = {}
    read = []
    for index, task in enumerate(tasks):
        try:
            with _reading(task.place), opened(task.place) as file:
                content = file.read()
            read.append((index, read_transcript(task.place, content), task.collector_channel))
        except CallError as error:
            outcomes[index] = _failed(error, began)
    reports = judge_all([(transcript, channel) for _, transcript, channel in read], classifier)
    each = (time.perf_counter() - began) / max(1, len(read))
    for (index, _, _), report in zip(read, reports, strict=True):
        outcomes[index] = Outcome(report=report, took_s=each)
    return [outcomes[index] for index in range(len(tasks))]


def _failed(error: CallError, began: float) -> Outcome:
    stops = isinstance(error, (NoSpace, ModelError))
    took = time.perf_counter() - began
    return Outcome(error=type(error).__name__, reason=str(error), stops=stops, took_s=took)


@contextmanager
def _reading(place: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (ENOSPC, EDQUOT):
            raise NoSpace from error
        why = getattr(error, "strerror", None) or str(error)
        raise UnreadableFile(place.rpartition("/")[2], why) from error


def opened(place: str) -> IO[bytes]:
    """Local paths as they are: fsspec would take marks in a file's name for wildcards."""
    if "://" not in place:
        return Path(place).open("rb")
    files, path = fsspec.core.url_to_fs(place)
    file: IO[bytes] = files.open(path, "rb")
    return file


@contextmanager
def _as_file(place: str) -> Iterator[Path]:
    if "://" not in place:
        yield Path(place)
        return
    with NamedTemporaryFile(prefix="callaudit-") as copy:
        with _reading(place), opened(place) as remote:
            shutil.copyfileobj(remote, copy, _CHUNK)
            copy.flush()
        yield Path(copy.name)
