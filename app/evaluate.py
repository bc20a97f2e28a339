"""`callaudit evaluate …`: a model and labelled data -> how right it is."""

import typer

evaluate = typer.Typer(no_args_is_help=True)


@evaluate.callback()
def _evaluate() -> None:
    """Measure the models on labelled data."""
