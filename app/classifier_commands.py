"""`callaudit evaluate classifier` and `callaudit train classifier`."""

import time
from pathlib import Path

import typer
from rich.table import Table

from app.config import CannotStart, Settings
from app.terminal import console
from models.call import KINDS, Label
from pipelines.training.classifier_card import card
from pipelines.training.classifier_evaluation import MODEL, Evaluation, Measuring, evaluate, load, read_heard
from pipelines.training.dataset import CORPUS, SPLITS, BadData, Row, Split, read_folder, with_dev
from pipelines.training.evaluation_page import SUMMARY, as_json, page, shown
from pipelines.training.fine_tuning import FineTuning, OtherRun, Step
from pipelines.training.train_classifier import AlreadyTrained, train_classifier

_HEARD = CORPUS / "heard.json"  # what the bundled recogniser made of the corpus, spoken by machines


def evaluate_classifier(
    settings: Settings,
    model: str | None,
    data: list[Path] | None,
    *,
    split: str,
    previous: str | None,
    heard: Path | None,
    reference: Path | None,
    out: Path | None,
    card_file: Path | None,
    print_json: bool,
) -> None:
    """Raises CannotStart naming the option that is wrong."""
    if split not in SPLITS:
        raise CannotStart(f"--split {split}: choose one of {', '.join(SPLITS)}")
    if out and out.suffix == ".json":
        raise CannotStart(f"--out {out}: name a page, as report.html; the JSON is written beside it")
    if heard is None and not data and _HEARD.is_file():
        heard = _HEARD
    loaded = load(model or settings.classifier, settings.device, settings.threads)
    try:
        evaluation = evaluate(
            loaded,
            [row for folder in data or [CORPUS] for row in read_folder(folder)],
            previous=load(previous, settings.device, settings.threads) if previous else None,
            heard=read_heard(heard) if heard else None,
            reference=reference,
            measuring=Measuring(split=split),
            watch=_tell,
        )
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(page(evaluation), "utf8")
            out.with_suffix(".json").write_text(as_json(evaluation), "utf8")
        if card_file:
            card_file.write_text(card(evaluation, loaded.weights.folder), "utf8")
    except (BadData, OSError) as error:
        raise CannotStart(str(error)) from error
    if print_json:
        typer.echo(as_json(evaluation), nl=False)
    else:
        _print(evaluation)


def train_classifier_on(
    settings: Settings,
    base: str,
    data: list[Path],
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
        rows = [row for folder in data for row in read_folder(folder)]
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
        watch=_tell,
    )
    pages = out / "evaluation"
    pages.mkdir(exist_ok=True)
    (pages / "report.html").write_text(page(evaluation), "utf8")
    (pages / "report.json").write_text(as_json(evaluation), "utf8")
    (out / "README.md").write_text(card(evaluation, out), "utf8")
    _print(evaluation)


def _tell(doing: str) -> None:
    typer.echo(f"{doing} …", err=True)


def _print(evaluation: Evaluation) -> None:
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
