"""callaudit keys: keys made, listed and revoked by whoever runs the service, without HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from app.config import CannotStart, read_settings

commands = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


@commands.command()
def create(
    *,
    tenant: Annotated[str, typer.Option(help="Whose key; the tenant is made if it is new.")],
    roles: Annotated[str, typer.Option(help="Of ingest, read, review, unredacted, admin; with commas.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires_in_days: Annotated[float | None, typer.Option(min=0.0, help="Never, if not given.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    calls_per_day: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Print a new key, alone, on standard output. It cannot be shown again."""
    from app import audit, keys  # noqa: PLC0415
    from app.database import open_database  # noqa: PLC0415

    try:
        wanted = frozenset(keys.Role(role.strip()) for role in roles.split(","))
    except ValueError:
        raise typer.BadParameter(f"--roles {roles}: give some of {', '.join(keys.Role)}") from None
    new = keys.NewKey(
        tenant_id=tenant,
        roles=wanted,
        name=name,
        expires_at=datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days is not None else None,
        requests_per_minute=requests_per_minute,
        calls_per_day=calls_per_day,
    )
    with open_database(read_settings()) as database:
        try:
            with database.begin() as connection:
                keys.add_tenant(connection, tenant)
                key, token = keys.create(connection, new)
                facts = {"roles": ",".join(sorted(wanted))}
                audit.record(connection, tenant, "operator", audit.Action.KEY_MADE, key.prefix, **facts)
        except ValueError as error:
            raise typer.BadParameter(f"--tenant: {error}") from None
    typer.echo(
        f"key {key.prefix} of {tenant} with {', '.join(sorted(wanted))}; keep it, it is shown this once", err=True
    )
    typer.echo(token)


@commands.command("list")
def list_(tenant: Annotated[str | None, typer.Option(help="All tenants' keys, if not given.")] = None) -> None:
    """List keys, one a line, without their secrets."""
    from app import keys  # noqa: PLC0415
    from app.database import open_database  # noqa: PLC0415

    now = datetime.now(UTC)
    with open_database(read_settings()) as database:
        for key in keys.listed(database, tenant):
            expired = key.expires_at is not None and key.expires_at <= now
            state = "revoked" if key.revoked_at else "expired" if expired else "valid"
            used = f"{key.last_used_at:%Y-%m-%dT%H:%MZ}" if key.last_used_at else "never"
            roles = ",".join(sorted(key.roles))
            typer.echo(f"{key.prefix}\t{key.tenant_id}\t{roles}\t{state}\tused {used}\t{key.name}")


@commands.command()
def revoke(prefix: Annotated[str, typer.Argument(help="As `callaudit keys list` shows it.")]) -> None:
    """Let nobody in with a key any more."""
    from app import audit, keys  # noqa: PLC0415
    from app.database import open_database  # noqa: PLC0415

    with open_database(read_settings()) as database, database.begin() as connection:
        key = keys.revoke(connection, prefix)
        if key is None:
            raise CannotStart(f"there is no key {prefix}; callaudit keys list shows them")
        audit.record(connection, key.tenant_id, "operator", audit.Action.KEY_REVOKED, prefix)
    typer.echo(f"key {prefix} is revoked", err=True)
