"""`callaudit evaluate …`: a model and labelled data -> how right it is."""

from typing import Annotated

import typer

from app.config import CannotStart, read_settings

evaluate = typer.Typer(no_args_is_help=True)


@evaluate.callback()
def _evaluate() -> None:
    """Measure the models on labelled data."""


@evaluate.command()
def nonspeech(
    hours: Annotated[float, typer.Option(min=0.01, help="How much to listen to.")] = 2.0,
    stretch: Annotated[float, typer.Option(min=1, help="Seconds of one recording.")] = 120.0,
    seed: Annotated[int, typer.Option(help="Another one makes other sounds.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count what is invented and flagged where nobody speaks: silence, noise, music, tones, breath, keys, hum, babble.

    Exit code 1 if anything was flagged.
    """
    from app.engine import load_configured_engine  # noqa: PLC0415

    try:
        from app.nonspeech import show_inventions  # noqa: PLC0415
    except ImportError as error:
        raise _needs("train", error) from error
    engine = load_configured_engine(read_settings())
    if show_inventions(engine, hours, stretch, seed, as_json):
        raise typer.Exit(1)


def _needs(extra: str, error: ImportError) -> CannotStart:
    return CannotStart(f"{error.name} is not installed; pip install 'callaudit[{extra}]'")
