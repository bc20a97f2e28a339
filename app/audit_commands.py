"""callaudit audit: the log of who did what, checked without HTTP."""

from typing import Annotated

import typer

from app.config import read_settings

commands = typer.Typer(no_args_is_help=True, help="Check the log of who did what.")


@commands.callback()
def _audit() -> None:
    """Keeps `verify` a command of its own name."""


@commands.command()
def verify(
    tenant: Annotated[str | None, typer.Option(help="All tenants, if not given.")] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(help="TENANT:POSITION:HASH as printed before; finds an end that was cut off since."),
    ] = None,
) -> None:
    """Print each chain's head. Exit code 1 if an entry was changed, moved or taken out."""
    from app import audit  # noqa: PLC0415
    from app.database import open_database  # noqa: PLC0415

    whole = True
    with open_database(read_settings()) as database:
        for found in audit.verify(database, tenant):
            if isinstance(found, audit.Head):
                typer.echo(f"{found.tenant_id}:{found.position}:{found.hash}")
            else:
                whole = False
                typer.echo(f"{found.tenant_id}: broken at {found.position}: {found.why}", err=True)
        for wanted in expect or ():
            name, _, rest = wanted.partition(":")
            position, _, digest = rest.partition(":")
            if not position.isdecimal():
                raise typer.BadParameter(f"--expect {wanted}: not TENANT:POSITION:HASH")
            if audit.hash_at(database, name, int(position)) != digest:
                whole = False
                typer.echo(f"{name}: entry {position} is not what it was, or is gone", err=True)
    if not whole:
        raise typer.Exit(1)
