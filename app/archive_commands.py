"""callaudit archive: score, compare and look through archives of calls."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from app.config import CannotStart, read_settings
from app.terminal import console

if TYPE_CHECKING:
    from pipelines.archive import run as archive_run
    from pipelines.archive.sampling import Estimate
    from pipelines.archive.store import Store
    from pipelines.conduct import Rules

commands = typer.Typer(no_args_is_help=True, help="Score archives of calls, and look across calls.")

_SOME_FAILED = 1
_TELL_EVERY_S = 1.0
_DRAW_EVERY_S = 0.2

Archive = Annotated[str, typer.Argument(help="Folder or bucket that `archive score` wrote.", show_default=False)]
Zone = Annotated[str | None, typer.Option(help="Of times without offset, as Asia/Shanghai.")]


@commands.callback()
def _archive() -> None:
    """Keeps each command a command of its own name."""


@commands.command()
def score(  # noqa: PLR0917 - typer hands them over by name
    source: Annotated[str, typer.Argument(help="Folder, glob, s3:// prefix, or table.", show_default=False)],
    out: Annotated[str, typer.Option("--out", help="Folder or s3:// prefix of the tables.", show_default=False)],
    metadata: Annotated[str | None, typer.Option(help="Table with a row a call, by path or call_id.")] = None,
    time_zone: Zone = None,
    transcripts: Annotated[bool, typer.Option("--transcripts", help="SOURCE holds transcripts.")] = False,
    since_model: Annotated[bool, typer.Option("--since-model", help="Score anew what other models scored.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed recordings again.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes with models of their own.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of each worker.")] = None,
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster, as ray://HOST:10001 or auto.")] = None,
    part_size: Annotated[int, typer.Option(min=1, help="Recordings that are committed at once, at most.")] = 256,
    json_progress: Annotated[bool, typer.Option("--json-progress", help="Progress as JSON on stderr.")] = False,
) -> None:
    """Score every recording of SOURCE. Interrupted and run again, it goes on."""
    from app.decoding import decode_limits  # noqa: PLC0415
    from app.engine import engine_options  # noqa: PLC0415
    from pipelines.archive import run as archive_run  # noqa: PLC0415
    from pipelines.archive.capacity import capacity  # noqa: PLC0415
    from pipelines.archive.engine import Scoring, use_cluster  # noqa: PLC0415
    from pipelines.archive.sources import Source  # noqa: PLC0415

    settings = read_settings()
    chosen = capacity(workers, threads or settings.threads or None)
    typer.echo(f"{chosen.workers} workers with {chosen.threads} threads each ({chosen.why})", err=True)
    options = replace(engine_options(settings), threads=chosen.threads)
    order = archive_run.Order(
        source=Source(_absolute(source), transcripts, apart=_absolute(out)),
        scoring=Scoring(options, decode_limits(settings), transcripts),
        workers=chosen.workers,
        metadata=metadata and _absolute(metadata),
        zone=_zone(time_zone),
        since_model=since_model,
        retry_failed=retry_failed,
        chunks=archive_run.Chunks(committed=part_size),
    )
    with _told():
        if ray:
            use_cluster(ray)
        with _Shown(json_progress) as shown:
            progress = archive_run.run(order, _store(out), shown)
        rules = _rules(None)
        page = _write_summary(out, order.zone or ZoneInfo(rules.time_zone), rules)
    typer.echo(_in_words(progress))
    typer.echo(page)
    if progress.failed or progress.failed_before:
        raise typer.Exit(_SOME_FAILED)


@commands.command()
def diff(
    first: Annotated[str, typer.Argument(help="The archive before.", show_default=False)],
    second: Annotated[str, typer.Argument(help="The archive after.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Tell which verdicts differ between two archives, with the utterances. Exit code 1 if recordings are missing."""
    from pipelines.archive.differences import Missing, differences  # noqa: PLC0415

    changed = missing = 0
    with _told():
        for found in differences(_store(first), _store(second)):
            if isinstance(found, Missing):
                missing += 1
                typer.echo(f"{found.recording!r}: not in the archive {found.where}", err=True)
                continue
            changed += 1
            if as_json:
                typer.echo(json.dumps(asdict(found), ensure_ascii=False))
                continue
            verdicts = (", ".join(v) or "no abuse found" for v in (found.verdict_before, found.verdict_after))
            typer.echo(f"{found.recording}: {' -> '.join(verdicts)}")
            for mark, sentences in (("-", found.before), ("+", found.after)):
                for said in sentences:
                    typer.echo(f"  {mark} {said.start_s:8.2f}  {', '.join(said.labels)}  {said.text}")
    if not as_json:
        typer.echo(f"{changed} verdicts differ")
    if missing:
        raise typer.Exit(_SOME_FAILED)


@commands.command()
def conduct(
    place: Archive,
    rules: Annotated[Path | None, typer.Option(help="YAML, as pipelines/conduct.yaml, which is the default.")] = None,
) -> None:
    """Find what only several calls together show: calls at night, too many a day, after a refusal."""
    from pipelines.archive.across import judge_conduct  # noqa: PLC0415

    with _told():
        chosen = _rules(rules)
        judged = judge_conduct(_store(place), chosen)
        typer.echo(f"{judged.findings} findings in {judged.calls} calls")
        for name, count in judged.unjudged.items():
            typer.echo(f"{count} calls have no {name}; rules that need it did not judge them", err=True)
        typer.echo(_write_summary(place, ZoneInfo(chosen.time_zone), chosen))


@commands.command()
def summary(
    place: Archive,
    time_zone: Zone = None,
    rules: Annotated[Path | None, typer.Option(help="The rules that `archive conduct` was given.")] = None,
) -> None:
    """Write the summary page anew."""
    with _told():
        chosen = _rules(rules)
        typer.echo(_write_summary(place, _zone(time_zone) or ZoneInfo(chosen.time_zone), chosen))


@commands.command(name="import")
def import_(
    place: Archive,
    source: Annotated[str, typer.Option("--source", help="Where its recordings lie.", show_default=False)],
    tenant: Annotated[str, typer.Option(help="Whose calls they become.")] = "default",
) -> None:
    """Put an archive's calls, recordings and findings into the service. Run again, it adds what is not there yet."""
    from app.archive_import import import_calls  # noqa: PLC0415
    from app.conduct_import import import_findings  # noqa: PLC0415
    from app.database import open_database  # noqa: PLC0415
    from app.recordings import Recordings  # noqa: PLC0415

    settings = read_settings()
    with _told(), open_database(settings) as database:
        done = import_calls(_store(place), _absolute(source), database, Recordings(settings), tenant)
        found = import_findings(_store(place), database, tenant)
    for name, why in done.skipped:
        typer.echo(f"{name!r}: {why}", err=True)
    typer.echo(f"{done.added} added, {done.there} there already, {len(done.skipped)} left out")
    if found is None:
        typer.echo("no findings: `callaudit archive conduct` has not judged this archive", err=True)
    else:
        told = f"findings: {found.added} added, {found.there} there already, {found.removed} replaced"
        typer.echo(f"{told}, {found.unproven} left out, whose calls are not there")
    if done.skipped:
        raise typer.Exit(_SOME_FAILED)


@commands.command()
def sample(  # noqa: PLR0917 - typer hands them over by name
    place: Archive,
    out: Annotated[Path, typer.Option(help="JSON lines to write.", show_default=False)],
    size: Annotated[int, typer.Option(min=12, help="Utterances.")] = 400,
    seed: Annotated[int, typer.Option(help="The same seed draws the same.")] = 0,
    label_studio: Annotated[bool, typer.Option("--label-studio", help="Write tasks for Label Studio.")] = False,
    sound: Annotated[
        str | None, typer.Option(help="Where Label Studio finds the recordings, a URL's beginning.")
    ] = None,
) -> None:
    """Draw utterances for people to review: flagged ones by probability, unflagged ones at random."""
    from pipelines.archive import labelstudio, sampling  # noqa: PLC0415

    with _told():
        drawn = sampling.draw(_store(place), size, seed)
    content = labelstudio.tasks(drawn, sound) if label_studio else "".join(f"{x}\n" for x in sampling.as_lines(drawn))
    try:
        out.write_text(content, "utf8")
    except OSError as error:
        raise CannotStart(f"--out {out}: {error.strerror}") from error
    strata = Counter(one.stratum for one in drawn)
    for stratum in sorted(strata):
        of = sum(next(one for one in drawn if one.stratum == stratum).population.values())
        typer.echo(f"{stratum}: {strata[stratum]} of {of}")


@commands.command()
def estimate(
    reviews: Annotated[
        Path, typer.Argument(help="The sample with reviews, or Label Studio's export.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell the true rate of each kind in the archive, and the models' precision and recall on it."""
    from pipelines.archive import labelstudio, sampling  # noqa: PLC0415

    try:
        content = reviews.read_bytes()
    except OSError as error:
        raise CannotStart(f"{reviews}: {error.strerror}") from error
    with _told():
        if content.lstrip().startswith(b"["):
            heard = labelstudio.reviews(str(reviews), content)
        else:
            heard = sampling.read_reviews(str(reviews), content.decode("utf8", "replace").splitlines())
        found = sampling.estimate(heard)
    if as_json:
        typer.echo(json.dumps({str(kind): asdict(of) for kind, of in found.items()}))
        return
    table = Table("kind", "true rate", "precision", "recall")
    for kind, of in found.items():
        table.add_row(str(kind), *(_interval(value) for value in (of.rate, of.precision, of.recall)))
    console().print(table)


def _interval(found: "Estimate | None") -> str:
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})" if found else "nothing to tell it from"


def _rules(file: Path | None) -> "Rules":
    from pipelines.conduct import DEFAULT_RULES, BadRules, load_rules  # noqa: PLC0415

    try:
        return load_rules(file or DEFAULT_RULES)
    except BadRules as error:
        raise CannotStart(f"--rules: {error}") from error


def _write_summary(place: str, zone: ZoneInfo, rules: "Rules") -> str:
    from pipelines.archive.summary import write_summary  # noqa: PLC0415

    return write_summary(_store(place), zone, rules)


def _store(place: str) -> "Store":
    from pipelines.archive.store import Store  # noqa: PLC0415

    return Store(_absolute(place))


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with an archive, told in one line."""
    from pipelines.archive.errors import ArchiveError  # noqa: PLC0415

    try:
        yield
    except ArchiveError as error:
        raise CannotStart(str(error)) from error


class _Shown:
    """A bar where someone looks, JSON lines where they are asked for, else nothing."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._last = 0.0
        self._bar: Progress | None = None
        if sys.stderr.isatty() and not as_json:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("calls", total=None, told="")

    def __call__(self, progress: "archive_run.Progress") -> None:
        now = time.monotonic()
        if now - self._last < (_TELL_EVERY_S if self._json else _DRAW_EVERY_S) and progress.done < progress.total:
            return
        self._last = now
        if self._json:
            typer.echo(json.dumps(_facts(progress)), err=True)
        elif self._bar:
            self._bar.update(self._task, total=progress.total, completed=progress.done, told=_line(progress))

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()


def _facts(progress: "archive_run.Progress") -> dict[str, float | int | None]:
    factor, left = progress.real_time_factor, progress.left_s
    return {
        "files": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "audio_hours": round(progress.audio_s / 3600, 4),
        "real_time_factor": None if factor is None else round(factor, 4),
        "seconds_left": None if left is None else round(left, 1),
    }


def _line(progress: "archive_run.Progress") -> str:
    factor, left = progress.real_time_factor, progress.left_s
    told = f"{progress.done}/{progress.total} files, {progress.audio_s / 3600:.2f} h of sound"
    told += "" if factor is None else f", real-time factor {factor:.3f}"
    told += f", {progress.failed} failed"
    return told + ("" if left is None else f", {left / 60:.0f} min left")


def _in_words(progress: "archive_run.Progress") -> str:
    told = f"{progress.scored} scored, {progress.copied} the same as another, {progress.failed} failed"
    told += f", {progress.before} done before ({progress.failed_before} failed)"
    told += f"; {progress.audio_s / 3600:.2f} h of sound in {progress.wall_s:.0f} s"
    told += f" ({progress.took_s:.1f} s of scoring, of all workers together)"
    return told + (f"; {progress.without_facts} without metadata" if progress.without_facts else "")


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(place)  # noqa: PTH100 - a glob is no path


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError):
        raise typer.BadParameter(f"--time-zone {name}: no such zone; name one as Asia/Shanghai") from None
