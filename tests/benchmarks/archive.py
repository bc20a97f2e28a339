"""Archives: whole after kills, memory, what the engine adds, two workers, transcripts, Ray, files by the 100,000."""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.archive_calls import make_calls, make_demo_calls, make_long_call
from tests.benchmarks.archive_runs import Ran, content, killed, names, score
from tests.benchmarks.archive_transcripts import make_tiny_transcripts, make_transcripts
from tests.benchmarks.processes import output_of

_KILLS = 3
_GROWTH_AT_MOST = 1.1
_OVERHEAD_AT_MOST = 1.05
_OVER_BARE_AT_MOST = 1.3


def add_options(options: argparse.ArgumentParser) -> None:
    chosen = options.add_subparsers(title="which", required=True)
    for benchmark, told in (
        (whole, "a run without interruption, its rows and its memory beside that of a smaller one"),
        (resume, "the same archive killed three times, and whether its rows are the same"),
        (overhead, "what the engine adds to scoring, and two workers beside one"),
        (transcripts, "transcripts only, beside the bare classifier"),
        (ray, "a cluster of two nodes on this machine beside none"),
        (files, "files by the 100,000, listed and resumed"),
        (long, "a call of three hours among short ones"),
        (costs, "what a call costs beside its transcription"),
    ):
        one = chosen.add_parser(benchmark.__name__, help=told)
        one.add_argument("--folder", type=Path, help="where calls and archives are made and stay")
        one.add_argument("--workers", type=int, default=2)
        one.set_defaults(benchmark=benchmark)
        for name, number in _NUMBERS.get(benchmark.__name__, {}).items():
            one.add_argument(f"--{name}", type=int, default=number)


_NUMBERS = {
    "whole": {"calls": 5000, "fewer": 500},
    "resume": {"calls": 5000},
    "overhead": {"calls": 40},
    "transcripts": {"calls": 2000},
    "ray": {"calls": 200},
    "files": {"files": 100_000},
    "long": {"minutes": 180, "calls": 60},
}


def run(chosen: argparse.Namespace) -> None:
    with _folder(chosen.folder) as folder:
        chosen.benchmark(folder, chosen)


def whole(folder: Path, chosen: argparse.Namespace) -> None:
    fewer = _scored_calls(folder, chosen.fewer, chosen.workers)
    more = _scored_calls(folder, chosen.calls, chosen.workers)
    growth, of_run = more.peak_mib / fewer.peak_mib, more.run_mib / fewer.run_mib
    _print(
        f"peak memory of all processes: {fewer.peak_mib:.0f} MiB for {chosen.fewer} calls, {more.peak_mib:.0f} for "
        f"{chosen.calls}: {growth:.2f} times {_verdict(growth, _GROWTH_AT_MOST)}; "
        f"of the run without its workers {fewer.run_mib:.0f} and {more.run_mib:.0f}: {of_run:.2f} times"
    )


def _scored_calls(folder: Path, count: int, workers: int) -> Ran:
    source, dest = folder / f"calls-{count}", folder / f"archive-{count}"
    made = make_calls(source, count)
    ran = score(source, dest, "--workers", str(workers))
    scored, copied, failed, before = ran.counts
    told = names(dest)
    complete = len(told) == len(set(told)) == made.all and failed == made.broken and not before
    _print(
        f"{made.all} calls, {made.broken} broken, {made.twice} twice: {scored} scored, {copied} the same as another, "
        f"{failed} failed; {'every file is one row' if complete else f'INCOMPLETE, {len(set(told))} rows'}; "
        f"{_took(ran)}, {ran.cpu_s / made.all:.2f} CPU s a call; {_over_scoring(ran, workers)}"
    )
    return ran


def resume(folder: Path, chosen: argparse.Namespace) -> None:
    source, dest, untouched = (folder / f"{name}-{chosen.calls}" for name in ("calls", "killed", "archive"))
    if not untouched.exists():
        _scored_calls(folder, chosen.calls, chosen.workers)
    options = ("--workers", str(chosen.workers), "--part-size", str(max(1, min(256, chosen.calls // 20))))
    began = time.perf_counter()
    for kill in range(1, _KILLS + 1):
        goal = chosen.calls * kill // (_KILLS + 1)
        assert killed(source, dest, *options, when=lambda goal=goal: _committed(dest) >= goal)  # type: ignore[misc]
        _print(f"killed at {_committed(dest)} of {chosen.calls} rows")
    _, _, _, before = score(source, dest, *options).counts
    wall_s = time.perf_counter() - began
    again = score(source, dest, *options)
    same = content(dest) == content(untouched)
    _print(
        f"the last run found {before} done, the four took {wall_s:.0f} s; one more: {again.told.split(';')[0]}\n"
        f"rows, sorted, beside those of an uninterrupted run: {'the same bytes' if same else 'DIFFERENT'}"
    )
    for table, digest in content(dest).items():
        _print(f"  {table} {digest}")


def _committed(dest: Path) -> int:
    counts = [json.loads(manifest.read_text())["rows"] for manifest in (dest / "parts").glob("*.json")]
    return sum(rows["calls"] + rows["failures"] for rows in counts)


def overhead(folder: Path, chosen: argparse.Namespace) -> None:
    source = folder / f"demo-{chosen.calls}"
    make_demo_calls(source, chosen.calls)
    runs = {}
    for workers in (2, 1):
        ran = score(source, folder / f"demo-archive-{workers}", "--workers", str(workers), "--threads", "1")
        runs[workers] = ran
        _print(f"{workers} workers: {chosen.calls} calls in {_took(ran)}; {_over_scoring(ran, workers)}")
    _print(
        f"two workers beside one: {runs[1].wall_s / runs[2].wall_s:.2f} times as fast, "
        f"with {runs[2].cpu_s / runs[1].cpu_s:.2f} times the CPU seconds"
    )


def transcripts(folder: Path, chosen: argparse.Namespace) -> None:
    source = folder / f"transcripts-{chosen.calls}"
    utterances = make_transcripts(source, chosen.calls)
    bare = json.loads(output_of("tests.benchmarks.archive_transcripts", source))
    ran = score(source, folder / f"transcripts-archive-{chosen.calls}", "--transcripts")
    ratio, cpu = ran.wall_s / bare["wall_s"], ran.cpu_s / bare["cpu_s"]
    _print(
        f"{utterances} utterances of {chosen.calls} transcripts: {utterances / ran.wall_s:.0f} a second from files to "
        f"tables, {utterances / bare['wall_s']:.0f} by the bare classifier: {ratio:.2f} times its time "
        f"{_verdict(ratio, _OVER_BARE_AT_MOST)}; {ran.cpu_s:.0f} CPU s and {bare['cpu_s']:.0f}: {cpu:.2f} times"
    )


def ray(folder: Path, chosen: argparse.Namespace) -> None:
    from tests.archive.nodes import two_nodes  # noqa: PLC0415 - Ray is an extra

    source = folder / f"calls-{chosen.calls}"
    make_calls(source, chosen.calls)
    options = ("--workers", "2", "--threads", "1")
    native = score(source, folder / "native", *options)
    _print(f"native, two workers: {_took(native)}")
    with two_nodes() as (address, _):
        cluster = score(source, folder / "ray", *options, "--ray", address)
    _print(f"Ray, two nodes of one worker each: {_took(cluster)}, without what the nodes did")
    same = content(folder / "native") == content(folder / "ray")
    _print(
        f"rows: {'the same bytes' if same else 'DIFFERENT'}; Ray took {cluster.wall_s - native.wall_s:.0f} s more "
        f"({cluster.wall_s / native.wall_s:.2f} times), of which scoring "
        f"{(cluster.scoring_s - native.scoring_s) / 2:.0f} s a worker"
    )


def files(folder: Path, chosen: argparse.Namespace) -> None:
    peaks = {}
    for count in (chosen.files // 10, chosen.files):
        source, dest = folder / f"tiny-{count}", folder / f"tiny-archive-{count}"
        make_tiny_transcripts(source, count)
        options = ("--transcripts", "--workers", str(chosen.workers))
        assert killed(source, dest, *options, when=lambda dest=dest: _committed(dest) > 0)  # type: ignore[misc]
        first = score(source, dest, *options)
        again = score(source, dest, *options)
        told = names(dest)
        complete = len(told) == len(set(told)) == count
        peaks[count] = (first, again)
        _print(
            f"{count} files: {'every file is one row' if complete else 'INCOMPLETE'}; after a kill {first.counts[3]} "
            f"were done, the rest took {first.wall_s:.0f} s and {first.peak_mib:.0f} MiB; "
            f"finding them all done {again.wall_s:.0f} s and {again.peak_mib:.0f} MiB"
        )
    (small, small_again), (large, large_again) = peaks.values()
    for what, few, many in (("scoring", small, large), ("finding all done", small_again, large_again)):
        growth = many.peak_mib / few.peak_mib
        _print(f"memory of {what}, ten times the files: {growth:.2f} times {_verdict(growth, _GROWTH_AT_MOST)}")


def long(folder: Path, chosen: argparse.Namespace) -> None:
    """The long one comes first; `CALLAUDIT_SPEAKERS` as it is by default."""
    source, dest = folder / "long", folder / "long-archive"
    made = make_calls(source, chosen.calls)
    alone = score(source, folder / "long-without", "--workers", str(chosen.workers))
    make_long_call(source / "0-long.wav", 60 * chosen.minutes)
    seen: list[float] = []
    began = time.perf_counter()
    with _watching(dest, made.all - made.twice, seen):  # copies are written when all else is done
        ran = score(source, dest, "--workers", str(chosen.workers))
    _print(
        f"{chosen.calls} short calls alone: {_took(alone)}; with one of {chosen.minutes} min: {_took(ran)}; the short "
        f"ones were {f'committed after {seen[0] - began:.0f} s' if seen else 'NOT committed before it was done'}"
    )


def costs(_folder: Path, _chosen: argparse.Namespace) -> None:
    for name, value in json.loads(output_of("tests.benchmarks.archive_costs")).items():
        _print(f"{name}: {value:g}")


@contextmanager
def _watching(dest: Path, rows: int, seen: list[float]) -> Iterator[None]:
    import threading  # noqa: PLC0415

    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            if _committed(dest) >= rows:
                seen.append(time.perf_counter())
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def _took(ran: Ran) -> str:
    return f"{ran.wall_s:.0f} s, {ran.cpu_s:.0f} CPU s, at most {ran.peak_mib:.0f} MiB"


def _over_scoring(ran: Ran, workers: int) -> str:
    ratio = ran.wall_s / (ran.scoring_s / workers)
    verdict = _verdict(ratio, _OVERHEAD_AT_MOST)
    return f"scoring {ran.scoring_s:.0f} s, the whole over that divided by workers {ratio:.3f} {verdict}"


def _verdict(measured: float, aim: float) -> str:
    return f"(aim: at most {aim:g}{'' if measured <= aim else ', missed'})"


def _print(line: str) -> None:
    print(line, flush=True)
