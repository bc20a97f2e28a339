"""`callaudit evaluate classifier`: a loaded classifier and rows -> figures, on the screen and in files."""

from pathlib import Path

import typer
from rich.table import Table

from app.config import CannotStart, Settings
from app.terminal import console
from models.call import KINDS, Label
from models.classifier import Classifier
from pipelines.training.classifier_card import card
from pipelines.training.classifier_evaluation import MODEL, Evaluation, Measuring, evaluate, load, read_heard
from pipelines.training.dataset import BadData, Row, Split
from pipelines.training.evaluation_page import SUMMARY, as_json, page, shown


def evaluate_classifier(
    settings: Settings,
    classifier: Classifier,
    rows: list[Row],
    *,
    split: Split,
    previous: str | None,
    heard: Path | None,
    reference: Path | None,
    out: Path | None,
    card_file: Path | None,
    print_json: bool,
) -> None:
    """Raises CannotStart naming the option that is wrong."""
    try:
        evaluation = evaluate(
            classifier,
            rows,
            previous=load(previous, settings.device, settings.threads) if previous else None,
            heard=read_heard(heard) if heard else None,
            reference=reference,
            measuring=Measuring(split=split),
            watch=tell,
        )
        if out:
            write_page(evaluation, out)
        if card_file:
            card_file.write_text(card(evaluation, classifier.weights.folder), "utf8")
    except (BadData, OSError) as error:
        raise CannotStart(str(error)) from error
    if print_json:
        typer.echo(as_json(evaluation), nl=False)
    else:
        print_figures(evaluation)


def write_page(evaluation: Evaluation, file: Path) -> None:
    """And the figures as JSON beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(evaluation), "utf8")
    file.with_suffix(".json").write_text(as_json(evaluation), "utf8")


def tell(doing: str) -> None:
    typer.echo(f"{doing} …", err=True)


def print_figures(evaluation: Evaluation) -> None:
    screen = console()
    for condition, found in evaluation.conditions.items():
        table = Table(title=f"{condition}, {found[MODEL].rows} utterances", title_justify="left")
        table.add_column("")
        for name in found:
            table.add_column(name, justify="right")
        for title, get in SUMMARY:
            table.add_row(title, *(shown(get(of)) for of in found.values()))
        for label in (*KINDS, Label.COMPLIANT):
            for part, value in (("precision", "precision"), ("recall", "recall"), ("F1", "f1")):
                table.add_row(f"{label} {part}", *(shown(getattr(of.labels[label], value)) for of in found.values()))
        screen.print(table)
        if condition in evaluation.lost:
            screen.print(f"macro-F1 lost against the same rows as said: {shown(evaluation.lost[condition])}")
    for check in evaluation.outside:
        table = Table(title=f"{check.name}, {check.rows} texts", title_justify="left")
        table.add_column("")
        for name in check.figures:
            table.add_column(name, justify="right")
        for measure in next(iter(check.figures.values())):
            table.add_row(measure, *(shown(of[measure]) for of in check.figures.values()))
        screen.print(table)
