"""`callaudit train classifier`: rows -> a model that CALLAUDIT_CLASSIFIER takes, and its figures."""

import time
from pathlib import Path

import typer

from app.classifier_figures import print_figures, tell, write_page
from app.config import CannotStart, Settings
from pipelines.training.classifier_card import card
from pipelines.training.classifier_evaluation import Measuring, evaluate, load, read_heard
from pipelines.training.dataset import BadData, Row, Split, with_dev
from pipelines.training.fine_tuning import FineTuning, OtherRun, Step
from pipelines.training.train_classifier import AlreadyTrained, train_classifier


def train_classifier_on(
    settings: Settings,
    base: str,
    rows: list[Row],
    out: Path,
    *,
    options: FineTuning,
    heard: Path | None,
    then_evaluate: bool,
) -> None:
    """Leaves in `out` the model, and of its evaluation the page, the figures and the card. Raises CannotStart."""
    began = time.monotonic()

    def watch(step: Step) -> None:
        left = (time.monotonic() - began) / step.done_now * (step.steps - step.done)
        typer.echo(f"step {step.done}/{step.steps}, loss {step.loss:.4f}, {left / 60:.1f} min left", err=True)

    try:
        train_classifier(
            base,
            rows,
            out,
            options=options,
            watch=watch,
            heard=read_heard(heard) if heard else None,
            device=settings.device,
        )
    except (BadData, AlreadyTrained, OtherRun, OSError) as error:
        raise CannotStart(str(error)) from error
    typer.echo(out)
    if then_evaluate:
        _evaluate_trained(settings, with_dev(rows), out, heard)


def _evaluate_trained(settings: Settings, rows: list[Row], out: Path, heard: Path | None) -> None:
    """On test, or where nothing was kept for it on dev, which the thresholds were chosen on."""
    split: Split = "test" if any(row.split == "test" for row in rows) else "dev"
    evaluation = evaluate(
        load(str(out), settings.device, settings.threads),
        rows,
        heard=read_heard(heard) if heard else None,
        measuring=Measuring(split=split),
        watch=tell,
    )
    write_page(evaluation, out / "evaluation" / "report.html")
    (out / "README.md").write_text(card(evaluation, out), "utf8")
    print_figures(evaluation)
