"""callaudit evidence: bundles made and checked without the service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.config import CannotStart, Settings, read_settings
from models.errors import CallError, UnreadableFile

if TYPE_CHECKING:
    from pipelines.evidence.exhibit import CustodyEvent, Stated
    from pipelines.report import Report

commands = typer.Typer(no_args_is_help=True, help="Make and check evidence bundles.")


@commands.command("bundle")
def bundle_(
    recording: Annotated[Path, typer.Argument(help="In any known format.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The ZIP file to write.", show_default=False)],
    metadata: Annotated[
        str | None,
        typer.Option(help='What you know of the call, as JSON: {"lender": …, "caller_number": …, "called_at": …}.'),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="A report of this recording made before; the recording is not scored again.")
    ] = None,
) -> None:
    """Put a recording, its report and all that belongs to them into one signed ZIP."""
    from app import signing, terminal, timestamping  # noqa: PLC0415
    from app.decoding import decode_limits  # noqa: PLC0415
    from pipelines.decode import decode  # noqa: PLC0415
    from pipelines.evidence.bundle import bundle  # noqa: PLC0415
    from pipelines.evidence.errors import EvidenceError  # noqa: PLC0415
    from pipelines.score import score  # noqa: PLC0415

    settings = read_settings()
    stated = _stated(metadata, recording)
    limits = decode_limits(settings)
    key = signing.signer(settings)
    try:
        if report:
            told = _read_report(report)
        else:
            from app.engine import load_configured_engine  # noqa: PLC0415

            engine = load_configured_engine(settings)
            with decode(recording, limits) as decoded, terminal.ProgressBar(recording.name) as bar:
                told = score(decoded, engine, collector_channel=stated.collector_channel, progress=bar)
        custody = _custody(recording, told)
        made = bundle(
            recording, told, custody, key, out, stated=stated, stamp=timestamping.authority(settings), limits=limits
        )
    except (CallError, EvidenceError) as error:
        typer.echo(f"{recording}: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        raise CannotStart(f"--out {out}: {error.strerror}") from error
    if made.manifest.printed.why_no_pdf:
        typer.echo(made.manifest.printed.why_no_pdf, err=True)
    typer.echo(f"{out}: {len(made.manifest.files)} files, signed by key {made.manifest.key_sha256}")


@commands.command("verify")
def verify_(
    file: Annotated[Path, typer.Argument(help="The ZIP file.", show_default=False)],
    key: Annotated[
        list[Path] | None,
        typer.Option(help="A public key that you trust, in PEM form; if not given, this machine's own."),
    ] = None,
    timestamp_roots: Annotated[
        Path | None, typer.Option(help="Certificates of timestamp authorities that you trust, in PEM form.")
    ] = None,
) -> None:
    """Say what holds and what is broken. Exit code 0 if the bundle is whole, 1 if it is not."""
    from app import signing, timestamping  # noqa: PLC0415
    from pipelines.evidence.errors import NotAKey  # noqa: PLC0415
    from pipelines.evidence.signature import read_public_key  # noqa: PLC0415
    from pipelines.evidence.verify import verify  # noqa: PLC0415

    settings = read_settings()
    keys = []
    for path in key or ():
        try:
            keys.append(read_public_key(path.read_bytes()))
        except NotAKey as error:
            raise typer.BadParameter(f"--key {path}: {error}") from None
        except OSError as error:
            raise typer.BadParameter(f"--key {path}: {error.strerror}") from None
    own = None if key else signing.known_key(settings)
    roots = timestamping.read_roots(timestamp_roots or settings.timestamp_roots)
    found = verify(file, [*keys, *([own] if own else [])], timestamp_roots=roots)
    for statement in found.holds:
        typer.echo(f"holds: {statement.said()}")
    for fault in found.faults:
        typer.echo(f"broken: {fault.said()}")
    for statement in found.unknown:
        typer.echo(f"not known: {statement.said()}")
    typer.echo(f"{file}: {'whole' if found.whole else 'NOT WHOLE'}")
    if not found.whole:
        raise typer.Exit(1)


@commands.command("key")
def key_() -> None:
    """Print the public key of bundles made here; a key is made if there is none yet."""
    from app import signing  # noqa: PLC0415
    from pipelines.evidence.signature import fingerprint, pem  # noqa: PLC0415

    settings: Settings = read_settings()
    public = signing.signer(settings).public_key
    typer.echo(f"SHA-256 {fingerprint(public)}", err=True)
    typer.echo(pem(public), nl=False)


def _stated(metadata: str | None, recording: Path) -> "Stated":
    from pydantic import ValidationError  # noqa: PLC0415

    from pipelines.evidence.exhibit import Stated  # noqa: PLC0415

    try:
        stated = Stated.model_validate_json(metadata) if metadata else Stated()
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".strip(": ") for fault in error.errors())
        raise typer.BadParameter(f"--metadata: {'; '.join(wrong)}") from None
    return stated if stated.file_name else stated.model_copy(update={"file_name": recording.name[:500]})


def _read_report(path: Path) -> "Report":
    from pydantic import ValidationError  # noqa: PLC0415

    from pipelines.report import Report  # noqa: PLC0415

    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"--report {path}: {error.strerror}") from None
    except ValidationError as error:
        raise typer.BadParameter(f"--report {path}: no report, {error.errors()[0]['msg']}") from None


def _custody(recording: Path, report: "Report") -> "list[CustodyEvent]":
    """All that a file tells of itself. The time is the file system's, so that no clock is read."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from pipelines.evidence.exhibit import CustodyEvent  # noqa: PLC0415

    try:
        status = recording.stat()
    except OSError as error:
        raise UnreadableFile(recording.name, error.strerror or "unknown") from None
    facts: dict[str, str | int] = {"sha256": report.recording.sha256, "bytes": status.st_size}
    at = datetime.fromtimestamp(int(status.st_mtime), UTC)
    return [CustodyEvent(at=at, actor="file system", action="recording last changed", facts=facts)]
