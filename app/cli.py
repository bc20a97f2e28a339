"""Command line -> reports, transcripts, labels, or the running service.

What a command needs it imports itself: scoring a file loads no web code, and --help loads no models.
"""

import json
import os
import sys
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer

from app import telemetry
from app.archive_commands import commands as archive_commands
from app.audit_commands import commands as audit_commands
from app.config import CannotStart, Settings, read_settings
from app.evaluate import evaluate
from app.evidence_commands import commands as evidence_commands
from app.keys_commands import commands as keys_commands
from app.train import train
from models.errors import CallError, ModelError
from models.simplified import simplified
from pipelines.version import installed_version

if TYPE_CHECKING:
    from models.call import Recording, Segment
    from pipelines.decode import DecodeLimits
    from pipelines.report import Report
    from pipelines.score import Engine

_SOME_FAILED = 1
_USAGE = 2

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
cli.add_typer(train, name="train")
cli.add_typer(evaluate, name="evaluate")
cli.add_typer(keys_commands, name="keys")
cli.add_typer(archive_commands, name="archive")
cli.add_typer(audit_commands, name="audit")
cli.add_typer(evidence_commands, name="evidence")

Files = Annotated[list[Path], typer.Argument(help="Recordings in any known format.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one line a recording.")]


def main() -> None:
    telemetry.switch_off()
    try:
        cli()
    except (CannotStart, ModelError) as error:
        typer.echo(f"callaudit: {error}", err=True)
        _leave(_USAGE)
    except SystemExit as end:
        _leave(end.code)


def _leave(code: str | int | None) -> NoReturn:
    if "daft" in sys.modules and not isinstance(code, str):
        # Its threads outlive a run, and one that comes back to a Python in its end crashes it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"callaudit {installed_version()}")
        raise typer.Exit


@cli.callback()
def _callaudit(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Listens to debt-collection calls and says where a collector threatened, insulted or dragged in a third party.

    Settings are environment variables, CALLAUDIT_...; docs/settings.md lists them.
    """


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 8000,
    worker: Annotated[bool, typer.Option(help="Also score calls in this process.")] = True,
) -> None:
    """Run the HTTP service."""
    from app.serving import serve_http  # noqa: PLC0415

    settings = _service_settings()
    serve_http(settings, lambda: _load_engine(settings), host, port, worker)


@cli.command()
def worker() -> None:
    """Score queued calls, without HTTP."""
    from app.worker import work_until_stopped  # noqa: PLC0415

    settings = _service_settings()
    work_until_stopped(settings, lambda: _load_engine(settings))


@cli.command()
def doctor(
    host: Annotated[str, typer.Option(help="Address that the service is to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = 8000,
) -> None:
    """Check models, database, storage, disk, clock and ports, one line each. Exit code 1 if something is wrong."""
    from app.doctor import examine  # noqa: PLC0415

    healthy = True
    for found in examine(read_settings(), host, port):
        healthy &= found.fine
        typer.echo(f"{'ok' if found.fine else 'WRONG':6}{found.part:10} {found.told}")
    if not healthy:
        raise typer.Exit(_SOME_FAILED)


@cli.command()
def score(
    files: Files,
    as_json: JsonOption = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page to this file, or for several recordings into this folder.")
    ] = None,
    collector_channel: Annotated[
        int | None, typer.Option(min=0, max=1, help="The channel the collector speaks on, if known.")
    ] = None,
) -> None:
    """Label every utterance of recordings."""
    if as_json and html:
        raise typer.BadParameter("--json and --html cannot be had at once")
    from app import terminal  # noqa: PLC0415
    from pipelines.decode import decode  # noqa: PLC0415
    from pipelines.score import score as score_recording  # noqa: PLC0415

    settings = read_settings()
    engine = _load_engine(settings)
    console, failed = terminal.console(), False
    for file in files:
        try:
            with decode(file, _limits(settings)) as recording, terminal.ProgressBar(file.name) as progress:
                report = score_recording(recording, engine, collector_channel=collector_channel, progress=progress)
                page = _write_page(report, recording, file, html, len(files)) if html else None
        except CallError as error:
            failed = True
            typer.echo(f"{file}: {error}", err=True)
            continue
        if as_json:
            typer.echo(report.model_dump_json())
            continue
        console.print(terminal.report_table(file.name, report))
        console.print(terminal.summary_line(report), markup=False)
        if page:
            typer.echo(page)
    if failed:
        raise typer.Exit(_SOME_FAILED)


@cli.command()
def transcribe(file: Annotated[Path, typer.Argument(show_default=False)], as_json: JsonOption = False) -> None:
    """Write down what is said, without labels."""
    from app import terminal  # noqa: PLC0415
    from pipelines.decode import decode  # noqa: PLC0415

    settings = read_settings()
    engine = _load_engine(settings)
    try:
        with decode(file, _limits(settings)) as recording, terminal.ProgressBar(file.name) as bar:
            channels = []
            for channel in recording.channels:
                segments = []
                for segment in engine.transcribe(channel):
                    bar((channel.index + segment.end / channel.duration) / len(recording.channels))
                    segments.append(segment)
                channels.append(segments)
    except CallError as error:
        typer.echo(f"{file}: {error}", err=True)
        raise typer.Exit(_SOME_FAILED) from None
    if as_json:
        shown = {"channels": [{"segments": [_segment(segment) for segment in segments]} for segments in channels]}
        typer.echo(json.dumps(shown, ensure_ascii=False))
        return
    for index, segments in enumerate(channels):
        for segment in segments:
            typer.echo(f"channel {index}  {segment.start:8.2f} {segment.end:8.2f}  {simplified(segment.text)}")


@cli.command()
def classify(
    context: Annotated[
        bool, typer.Option("--context", help='Lines are JSON: {"text": …, "previous": [what was said before]}.')
    ] = False,
) -> None:
    """Label utterances from standard input, one a line; prints one JSON object a line."""
    from app.lines import label_lines  # noqa: PLC0415

    engine = _load_engine(read_settings())
    if label_lines(cast(BufferedIOBase, sys.stdin.buffer), engine, context):
        raise typer.Exit(_SOME_FAILED)


def _service_settings() -> Settings:
    from app.logs import log_to_stderr  # noqa: PLC0415

    settings = read_settings()
    log_to_stderr(settings.log_level, settings.log_format)
    return settings


def _load_engine(settings: Settings) -> "Engine":
    from app.engine import load_configured_engine  # noqa: PLC0415

    return load_configured_engine(settings)


def _limits(settings: Settings) -> "DecodeLimits":
    from app.decoding import decode_limits  # noqa: PLC0415

    return decode_limits(settings)


def _write_page(report: "Report", recording: "Recording", file: Path, html: Path, files: int) -> Path:
    from app.page import call, render  # noqa: PLC0415

    target = html / f"{file.stem}.html" if files > 1 or html.is_dir() else html
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(render([call(file.name, report, recording)]), "utf8")
    except OSError as error:
        raise CannotStart(f"--html {html}: {error.strerror}") from error
    return target


def _segment(segment: "Segment") -> dict[str, object]:
    words = [
        {
            "start": round(word.start, 2),
            "end": round(word.end, 2),
            "text": simplified(word.text),
            "probability": round(word.probability, 4),
        }
        for word in segment.words
    ]
    text = simplified(segment.text)
    return {"start": round(segment.start, 2), "end": round(segment.end, 2), "text": text, "words": words}


if __name__ == "__main__":
    main()
