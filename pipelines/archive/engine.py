"""Tasks -> outcomes, by Daft: workers on this machine, or on a Ray cluster with the same code."""

import os
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from models.classifier import Classifier
from models.errors import CallError
from pipelines.archive.errors import ArchiveError
from pipelines.archive.work import Outcome, Task, fingerprint, judge_places, score_place
from pipelines.decode import DecodeLimits
from pipelines.score import EngineOptions, load_engine

# Daft reads these at its import. A worker's output belongs to no one's screen.
os.environ.update(DO_NOT_TRACK="1", DAFT_ANALYTICS_ENABLED="0", RAY_USAGE_STATS_ENABLED="0", DAFT_PROGRESS_BAR="0")
import daft

# In order, one long call would hold up every worker until it is done. A large model may take minutes to load.
daft.set_execution_config(maintain_order=False, actor_udf_ready_timeout=900)

_TRANSCRIPTS_AT_ONCE = 256
_ATTEMPTS = 3  # of an engine that does not even start
_ALONE = 2  # times that a recording may kill its worker with no other recording at hand
_AT_HAND = 4  # batches a worker that Daft may have given out at one moment, at most
_ANSWERS_WITHIN_S = 10
_NO_PLACE = Task("", None)


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
    """Index of each place, its SHA-256 or nothing, and why it has none. Raises ArchiveError if the engine dies."""
    hashing = _Fingerprint()
    frame = _frame(places, [None] * len(places)).into_batches(max(1, min(64, len(places) // (2 * workers) or 1)))
    frame = frame.with_column("outcome", hashing.run(frame["place"]))
    try:
        for index, found in _results(frame):
            hashed, _, why = found.partition(" ")
            yield index, hashed, why
    except _engine_errors() as error:
        raise ArchiveError(f"the engine stopped ({_last_line(error)}); run it again, it goes on from here") from error


def outcomes(tasks: Sequence[Task], scoring: Scoring, workers: int) -> Iterator[tuple[int, Outcome]]:
    """Index of each task and its outcome, as they come. What dies with its machine is done again.

    A recording that kills its worker whenever it is scored becomes a failure. Raises ArchiveError if the engine
    dies of itself.
    """
    left = dict(enumerate(tasks))
    before = len(left)
    while (died := (yield from _until_death(left, scoring, workers))) is not None:
        if len(left) == before:
            _check_start(scoring, died)
        suspects = dict(islice(left.items(), _AT_HAND * workers * _at_once(len(left), scoring, workers)))
        for index in suspects:
            del left[index]
        yield from _sift(suspects, scoring, workers)
        before = len(left)


def _sift(suspects: dict[int, Task], scoring: Scoring, workers: int) -> Iterator[tuple[int, Outcome]]:
    """By halves, until the one that kills its worker is alone; all others are scored on the way."""
    if len(suspects) == 1:
        yield from _alone(suspects, scoring)
    elif (yield from _until_death(suspects, scoring, workers)) is not None:
        order = list(suspects)
        middle = len(order) // 2
        for half in (order[:middle], order[middle:]):
            yield from _sift({index: suspects[index] for index in half}, scoring, workers)


def _alone(suspect: dict[int, Task], scoring: Scoring) -> Iterator[tuple[int, Outcome]]:
    ((index, _),) = suspect.items()
    died: Exception | None = None
    for _ in range(_ALONE):
        if (died := (yield from _until_death(suspect, scoring, 1))) is None:
            return
    if died is not None:
        _check_start(scoring, died)
        yield index, Outcome(error="WorkerDied", reason=f"scoring it killed the worker each time ({_last_line(died)})")


def _check_start(scoring: Scoring, died: Exception) -> None:
    """Whether a worker starts, loads its models and answers, with no recording to blame. Raises ArchiveError if not."""
    for _ in range(_ATTEMPTS):
        probe = _until_death({0: _NO_PLACE}, scoring, 1)
        try:
            while True:
                next(probe)
        except StopIteration as end:
            if end.value is None:
                return
            died = end.value
    raise ArchiveError(
        f"the engine stopped {_ATTEMPTS} times ({_last_line(died)}); run it again, it goes on from here"
    ) from died


def _until_death(
    left: dict[int, Task], scoring: Scoring, workers: int
) -> Generator[tuple[int, Outcome], None, Exception | None]:
    """Takes what is done out of `left`; returns what the engine died of, if it did."""
    order = list(left)
    frame = _frame([left[i].place for i in order], [left[i].collector_channel for i in order])
    frame = frame.into_batches(_at_once(len(order), scoring, workers))
    worker = daft.cls(_Worker, use_process=True, max_concurrency=workers)(scoring)
    frame = frame.with_column("outcome", worker.run(frame["place"], frame["channel"]))
    try:
        for index, found in _results(frame):
            del left[order[index]]
            yield order[index], Outcome.model_validate_json(found)
    except _engine_errors() as error:
        return error
    return None


def _at_once(tasks: int, scoring: Scoring, workers: int) -> int:
    return max(1, min(_TRANSCRIPTS_AT_ONCE, -(-tasks // workers))) if scoring.transcripts else 1


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
        self._work = _load(scoring)

    @daft.method.batch(return_dtype=daft.DataType.string())
    def run(self, places: daft.Series, channels: daft.Series) -> list[str]:
        pairs = zip(places.to_pylist(), channels.to_pylist(), strict=True)
        return [outcome.model_dump_json() for outcome in self._work([Task(*pair) for pair in pairs])]


def _load(scoring: Scoring) -> Callable[[list[Task]], list[Outcome]]:
    """Transcripts need the classifier alone."""
    options = scoring.options
    if scoring.transcripts:
        classifier = Classifier(options.classifier, options.device, options.threads)
        return lambda tasks: judge_places(tasks, classifier)
    engine = load_engine(options)
    return lambda tasks: [score_place(task, engine, scoring.limits) for task in tasks]


def _engine_errors() -> tuple[type[Exception], ...]:
    """Daft tells of a dead process or machine in more than one way."""
    kinds: tuple[type[Exception], ...] = (daft.exceptions.DaftCoreException, RuntimeError, OSError)
    if "ray" in sys.modules:
        from ray.exceptions import RayError  # noqa: PLC0415

        kinds += (RayError,)
    return kinds


def _last_line(error: BaseException) -> str:
    """Where Daft hands over a traceback, what was raised comes last."""
    return str(error).strip().rpartition("\n")[2].partition(", stdout:")[0][:300]
