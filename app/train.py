"""`callaudit train …`: data of one's own -> weights that the settings take."""

import typer

train = typer.Typer(no_args_is_help=True)


@train.callback()
def _train() -> None:
    """Train the models on data of your own."""
