"""`callaudit evaluate …`: a model and labelled data -> how right it is."""

from pathlib import Path
from typing import Annotated

import typer

from app.config import CannotStart, read_settings
from pipelines.training.dataset import CORPUS, BadData, Row, Split, read_folder

_ASR_SETS = "synthetic,telephone,neural,human"
_CALLS = Path("tests/data/calls")
_HEARD = CORPUS / "heard.json"  # what the bundled recogniser made of the corpus, spoken by machines

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


@evaluate.command()
def asr(
    *,
    model: Annotated[str | None, typer.Option(help="Name or folder; by default CALLAUDIT_ASR_MODEL.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of reference data, for human speakers.")] = None,
    voices: Annotated[Path | None, typer.Option(help="ttskit's wheel, for neural voices; see docs.")] = None,
    sets: Annotated[str, typer.Option(help="Of synthetic, telephone, neural, human; with commas.")] = _ASR_SETS,
    sentences: Annotated[int, typer.Option(min=1, help="The most of one set.")] = 200,
    seed: Annotated[int, typer.Option(help="Another one takes other sentences.")] = 0,
    card: Annotated[bool, typer.Option("--card", help="Write the figures into the model's README.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the recogniser: character error rate by set, with 95 % intervals; voices and sentences unseen."""
    try:
        from app.hearing_figures import show_transcriber  # noqa: PLC0415
    except ImportError as error:
        raise _needs("train", error) from error
    show_transcriber(
        read_settings(),
        model=model,
        reference=reference,
        voices=voices,
        sets=sets.split(","),
        sentences=sentences,
        seed=seed,
        card=card,
        as_json=as_json,
    )


@evaluate.command()
def speakers(
    calls: Annotated[Path, typer.Option(help="Folder of call scripts with their recordings.")] = _CALLS,
    reference: Annotated[Path | None, typer.Option(help="Folder of reference data, for human speakers.")] = None,
    human_calls: Annotated[int, typer.Option(min=1, help="How many calls of human speakers are made.")] = 12,
    seed: Annotated[int, typer.Option(help="Another one makes other calls.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure who said it: diarization error rate, and the share of utterances whose role is right."""
    try:
        from app.hearing_figures import show_speakers  # noqa: PLC0415
    except ImportError as error:
        raise _needs("train", error) from error
    show_speakers(
        read_settings(), calls=calls, reference=reference, human_calls=human_calls, seed=seed, as_json=as_json
    )


@evaluate.command()
def classifier(
    *,
    model: Annotated[
        str | None, typer.Option(help="Name or folder; by default the one of CALLAUDIT_CLASSIFIER.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of labelled utterances; repeatable; default: the corpus."),
    ] = None,
    split: Annotated[Split, typer.Option(help="The split to measure on.")] = "test",
    previous: Annotated[str | None, typer.Option(help="Another classifier to compare with: name or folder.")] = None,
    heard: Annotated[
        Path | None, typer.Option(help="JSON: text to what a recogniser made of it; by default the corpus's, if any.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Folder of reference data for checks on texts from elsewhere.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a page with plots here, and the figures as JSON beside it.")
    ] = None,
    card: Annotated[Path | None, typer.Option(help="Write the model card here, as Markdown.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a classifier beside baselines: as said, with noise, as recognised, and on hard rows."""
    if out and out.suffix == ".json":
        raise CannotStart(f"--out {out}: name a page, as report.html; the JSON is written beside it")
    from models.classifier import Classifier  # noqa: PLC0415

    # What may be wrong with the options is told before anything large is loaded.
    settings = read_settings()
    rows = rows_of(data or [CORPUS])
    loaded = Classifier(model or settings.classifier, device=settings.device, threads=settings.threads)
    try:
        from app.classifier_figures import evaluate_classifier  # noqa: PLC0415
    except ImportError as error:
        raise _needs("train", error) from error
    if heard is None and not data and _HEARD.is_file():
        heard = _HEARD
    evaluate_classifier(
        settings,
        loaded,
        rows,
        split=split,
        previous=previous,
        heard=heard,
        reference=reference,
        out=out,
        card_file=card,
        print_json=as_json,
    )


def rows_of(folders: list[Path]) -> list[Row]:
    """Raises CannotStart naming the folder, or the line."""
    try:
        return [row for folder in folders for row in read_folder(folder)]
    except (BadData, OSError) as error:
        raise CannotStart(str(error)) from error


def _needs(extra: str, error: ImportError) -> CannotStart:
    return CannotStart(f"{error.name} is not installed; pip install 'callaudit[{extra}]'")
