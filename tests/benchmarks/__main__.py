"""How fast the pipeline is and how much memory it takes, beside what is aimed at: what `make bench` prints.

By name: `archive`, archives of thousands of calls; `load`, uploads while processes are killed; `reads`, how fast the
API answers about many calls; `pages`, how fast and how heavy the pages of a long call are; `shapes` and `together`,
recognition by Whisper's shapes and of two calls at once.
"""

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import archive, load, pages, reads, shapes, together
from tests.benchmarks.processes import output_of, peak_mib, service_at_rest

_RATIO_AT_MOST = 1.10
_GROWTHS_AT_MOST = (1.5, 1.2)  # of the longest call, over each of the others
_CLASSIFIER_TIMES_AT_LEAST = 8


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--speed-minutes", type=float, default=10, help="length of the call that is timed")
    options.add_argument("--memory-minutes", type=float, nargs=3, default=[3, 10, 180], help="a mono call, two stereo")
    named = options.add_subparsers(title="others, by name")
    for benchmark in (archive, load, pages, reads, shapes, together):
        other = named.add_parser(benchmark.__name__.rpartition(".")[2], help=benchmark.__doc__)
        benchmark.add_options(other)
        other.set_defaults(run=benchmark.run)
    chosen = options.parse_args()
    # Stopped from outside, it stops what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if "run" in chosen:
        chosen.run(chosen)
    else:
        _run(chosen)


def _run(chosen: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _print_speed(_call(folder, chosen.speed_minutes), chosen.speed_minutes)
        _print_memory(folder, *chosen.memory_minutes)
    _print_utterances()
    resting = service_at_rest()
    print(f"service: ready {resting.ready_s:.1f} s after its start, {resting.memory_mib:.0f} MiB at rest")


def _print_speed(call: Path, minutes: float) -> None:
    took = json.loads(output_of("tests.benchmarks.speed", call))
    ratio = took["pipeline_s"] / took["bare_s"]
    print(
        f"speed: {60 * minutes / took['pipeline_s']:.1f} s of sound a second, on a call of {minutes:g} min", flush=True
    )
    print(f"time over bare faster-whisper: {ratio:.2f} {_verdict(ratio, _RATIO_AT_MOST)}", flush=True)


def _print_memory(folder: str, short: float, middle: float, long: float) -> None:
    calls = ((short, 1), (middle, 2), (long, 2))
    peaks = [peak_mib("app.cli", "score", "--json", _call(folder, *call)) for call in calls]
    shown = ", ".join(
        f"{peak:.0f} MiB for {minutes:g} min {'stereo' if channels == 2 else 'mono'}"
        for peak, (minutes, channels) in zip(peaks, calls, strict=True)
    )
    growths = " and ".join(
        f"{peaks[2] / peak:.2f} times {_verdict(peaks[2] / peak, most)}"
        for peak, most in zip(peaks[:2], _GROWTHS_AT_MOST, strict=True)
    )
    print(f"peak memory: {shown}: {growths}", flush=True)


def _print_utterances() -> None:
    took = json.loads(output_of("tests.benchmarks.classifier"))
    missed = "" if took["times"] >= _CLASSIFIER_TIMES_AT_LEAST else ", missed"
    print(
        f"labels: {took['served']:.0f} utterances a second, {took['one_by_one']:.0f} one by one in transformers: "
        f"{took['times']:.1f} times (aim: at least {_CLASSIFIER_TIMES_AT_LEAST}{missed})",
        flush=True,
    )


def _call(folder: str, minutes: float, channels: int = 1) -> Path:
    """Written by a process of its own, whose memory does not count then."""
    return Path(output_of("tests.benchmarks.long_calls", folder, str(60 * minutes), str(channels)).strip())


def _verdict(measured: float, aim: float) -> str:
    return f"(aim: at most {aim:.2f}{'' if measured <= aim else ', missed'})"


if __name__ == "__main__":
    main()
