"""Two calls at once against one after the other, on one loaded engine."""

import argparse
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.benchmarks.long_calls import write_long_call
from tests.benchmarks.stopwatch import wall_s

_CALLS = 2
_ROUNDS = 2
_AIM = 1.3


def add_options(options: argparse.ArgumentParser) -> None:
    options.add_argument("--minutes", type=float, default=3, help="length of each call")


def run(chosen: argparse.Namespace) -> None:
    from pipelines.decode import decode  # noqa: PLC0415 - loads what other benchmarks must not
    from pipelines.score import load_engine, score  # noqa: PLC0415

    engine = load_engine()

    def scored(path: Path) -> None:
        with decode(path) as recording:
            score(recording, engine)

    with tempfile.TemporaryDirectory() as folder:
        calls = []
        for number in range(_CALLS):
            path = write_long_call(Path(folder), 60 * chosen.minutes)
            calls.append(path.rename(path.with_name(f"{number}.wav")))
        took = [(wall_s(lambda: list(map(scored, calls))), wall_s(lambda: _at_once(scored, calls)))
                for _ in range(_ROUNDS)]  # fmt: skip
    alone, together = (min(of_round) for of_round in zip(*took, strict=True))
    times = alone / together
    missed = "" if times >= _AIM else ", missed"
    print(f"{_CALLS} calls at once: {times:.2f} times the throughput of one after the other (aim: {_AIM}{missed})")


def _at_once(scored: Callable[[Path], None], calls: list[Path]) -> None:
    with ThreadPoolExecutor(_CALLS) as pool:
        list(pool.map(scored, calls))
