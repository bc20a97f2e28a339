"""Tasks -> outcomes, by Daft: workers on this machine, or on a Ray cluster with the same code."""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import CallError
from pipelines.archive.errors import ArchiveError
from pipelines.archive.work import Outcome, Task, fingerprint, judge_places, score_place
from pipelines.decode import DecodeLimits
from pipelines.score import EngineOptions, load_engine

# Daft reads these at its import. A worker's output belongs to no one's screen.
os.environ.update(DO_NOT_TRACK="1", DAFT_ANALYTICS_ENABLED="0", RAY_USAGE_STATS_ENABLED="0", DAFT_PROGRESS_BAR="0")
import daft

_TRANSCRIPTS_AT_ONCE = 256
_ATTEMPTS = 3
_ANSWERS_WITHIN_S = 10


@dataclass(frozen=True, slots=True)
class Scoring:
    """What a worker needs to know; it loads the models itself, once."""

    options: EngineOptions
    limits: DecodeLimits
    transcripts: bool = False


def use_cluster(address: str) -> None:
    """Raises ArchiveError if Ray is not installed or does not answer."""
    try:
        import ray  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise ArchiveError('--ray needs Ray; install it with pip install "callaudit[ray]"') from None
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdecimal():  # Ray itself asks for minutes
            socket.create_connection((host, int(port)), _ANSWERS_WITHIN_S).close()
        daft.set_runner_ray(address)
    except (OSError, RuntimeError, ValueError) as error:
        raise ArchiveError(f"--ray {address}: the cluster does not answer ({error})") from error


def fingerprints(places: Sequence[str], workers: int) -> Iterator[tuple[int, str, str]]:
    """Index of each place, its SHA-256 or nothing, and why it has none."""
    hashing = _Fingerprint()
    frame = _frame(places, [None] * len(places)).into_batches(max(1, min(64, len(places) // (2 * workers) or 1)))
    frame = frame.with_column("outcome", hashing.run(frame["place"]))
    for index, found in _results(frame):
        hashed, _, why = found.partition(" ")
        yield index, hashed, why


def outcomes(tasks: Sequence[Task], scoring: Scoring, workers: int) -> Iterator[tuple[int, Outcome]]:
    """Index of each task and its outcome, as they come. What dies with its machine is done again.

    Raises ArchiveError if the engine dies again and again.
    """
    left = dict(enumerate(tasks))
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            yield from _outcomes(left, scoring, workers)
        except _engine_errors() as error:
            if attempt == _ATTEMPTS:
                raise ArchiveError(
                    f"the engine stopped {_ATTEMPTS} times ({_first_line(error)}); run it again, it goes on from here"
                ) from error
            continue
        return


def _outcomes(left: dict[int, Task], scoring: Scoring, workers: int) -> Iterator[tuple[int, Outcome]]:
    """Takes what is done out of `left`."""
    order = list(left)
    frame = _frame([left[i].place for i in order], [left[i].collector_channel for i in order])
    at_once = 1
    if scoring.transcripts:
        at_once = max(1, min(_TRANSCRIPTS_AT_ONCE, -(-len(order) // workers)))
    frame = frame.into_batches(at_once)
    worker = daft.cls(_Worker, use_process=True, max_concurrency=workers)(scoring)
    frame = frame.with_column("outcome", worker.run(frame["place"], frame["channel"]))
    for index, found in _results(frame):
        del left[order[index]]
        yield order[index], Outcome.model_validate_json(found)


def _frame(places: Sequence[str], channels: Sequence[int | None]) -> Any:
    text, number = daft.DataType.string(), daft.DataType.int8()
    frame = daft.from_pydict({"index": list(range(len(places))), "place": list(places), "channel": list(channels)})
    return frame.with_columns({"place": frame["place"].cast(text), "channel": frame["channel"].cast(number)})


def _results(frame: Any) -> Iterator[tuple[int, str]]:
    for batch in frame.select("index", "outcome").to_arrow_iter():
        yield from zip(batch.column("index").to_pylist(), batch.column("outcome").to_pylist(), strict=True)


@daft.cls
class _Fingerprint:
    """Reading releases the interpreter's lock, so threads are enough."""

    @daft.method.batch(return_dtype=daft.DataType.string())
    def run(self, places: daft.Series) -> list[str]:
        return [_fingerprint(place) for place in places.to_pylist()]


def _fingerprint(place: str) -> str:
    try:
        return fingerprint(place)
    except CallError as error:
        return f" {error}"


class _Worker:
    """A process with models of its own. Whatever is wrong with a call comes back as a value."""

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring
        self._engine = load_engine(scoring.options)

    @daft.method.batch(return_dtype=daft.DataType.string())
    def run(self, places: daft.Series, channels: daft.Series) -> list[str]:
        pairs = zip(places.to_pylist(), channels.to_pylist(), strict=True)
        tasks = [Task(place, channel) for place, channel in pairs]
        if self._scoring.transcripts:
            found = judge_places(tasks, self._engine)
        else:
            found = [score_place(task, self._engine, self._scoring.limits) for task in tasks]
        return [outcome.model_dump_json() for outcome in found]


def _engine_errors() -> tuple[type[Exception], ...]:
    """Daft tells of a dead process or machine in more than one way."""
    kinds: tuple[type[Exception], ...] = (daft.exceptions.DaftCoreException, RuntimeError, OSError)
    if "ray" in sys.modules:
        from ray.exceptions import RayError  # noqa: PLC0415

        kinds += (RayError,)
    return kinds


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]
