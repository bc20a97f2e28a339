"""The figure of invented words, as a table or as JSON."""

import json
from dataclasses import asdict

import typer
from rich.table import Table

from app.terminal import ProgressBar, console
from pipelines.score import Engine, score
from pipelines.training.babble import Babble
from pipelines.training.invention import BABBLE, Invented, Listening, Rate, listen, rates


def show_inventions(engine: Engine, hours: float, stretch_s: float, seed: int, as_json: bool) -> int:
    """How many utterances were flagged."""
    listening = Listening(hours=hours, stretch_s=stretch_s, seed=seed)
    babble = _babble()
    found: list[Invented] = []
    with ProgressBar("nonspeech") as progress:
        for part in listen(lambda recording: score(recording, engine), listening, babble):
            found.append(part)
            progress(sum(p.seconds for p in found) / 3600 / hours)
    *each, together = rates(found)
    if as_json:
        shown = [asdict(rate) | {"flagged_an_hour": round(rate.flagged_an_hour, 3)} for rate in (*each, together)]
        typer.echo(json.dumps(shown, ensure_ascii=False))
        return together.flagged
    console().print(_table([*each, together]))
    for part in found:
        for text in part.texts:
            typer.echo(f"flagged in {part.sound} at {part.level_dbfs:.0f} dBFS: {text}")
    typer.echo(f"{together.flagged_an_hour:.2f} flagged utterances an hour in {together.hours:.2f} h without speech")
    return together.flagged


def _babble() -> Babble | None:
    try:
        return Babble()
    except RuntimeError as error:
        typer.echo(f"without {BABBLE}: {error}", err=True)
        return None


def _table(found: list[Rate]) -> Table:
    table = Table("sound", title="where nobody speaks", title_justify="left")
    for heading in ("hours", "utterances", "suppressed", "flagged", "believed", "flagged an hour"):
        table.add_column(heading, justify="right")
    for rate in found:
        counts = (rate.utterances, rate.suppressed, rate.flagged, rate.counted)
        table.add_row(rate.sound, f"{rate.hours:.2f}", *map(str, counts), f"{rate.flagged_an_hour:.2f}")
    return table
