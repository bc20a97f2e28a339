"""`callaudit train asr`: what goes on, and what went wrong, in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.progress import Progress

from app.config import CannotStart
from app.terminal import console


def fine_tune_asr(base: str, data: Path, out: Path, options: Mapping[str, Any]) -> None:
    """Raises CannotStart."""
    from pipelines.training.fine_tune_transcriber import CannotTrain, FineTuning, fine_tune  # noqa: PLC0415
    from pipelines.training.manifest import BadManifest  # noqa: PLC0415
    from pipelines.training.new_folder import OutTaken  # noqa: PLC0415

    with Progress(console=console(), transient=True) as progress:
        task = progress.add_task("reading", total=1.0)

        def told(what: str, share: float) -> None:
            progress.update(task, description=what, completed=share)
            if not progress.console.is_terminal and what != "reading":
                typer.echo(what)

        try:
            card = fine_tune(base, data, out, FineTuning(**options), told)
        except (BadManifest, CannotTrain, OutTaken) as error:
            raise CannotStart(str(error)) from error
    typer.echo(f"{card.clips} clips, {card.hours} h, {card.steps} steps")
    if card.held_out_loss_before is not None and card.held_out_loss_after is not None:
        typer.echo(f"held-out loss {card.held_out_loss_before:.3f} before, {card.held_out_loss_after:.3f} after")
    typer.echo(f"CALLAUDIT_ASR_MODEL={out.resolve()}")


def train_asr_from_scratch(texts: Sequence[Path], out: Path, minutes: float, shards: int, seed: int) -> None:
    """Raises CannotStart."""
    if not texts:
        raise CannotStart("--from-scratch needs --texts: JSONL files with the sentences to be spoken")
    if missing := [str(path) for path in texts if not path.is_file()]:
        raise CannotStart(f"--texts {', '.join(missing)}: no such file")
    try:
        from pipelines.training.from_scratch import Effort, OtherWork, train_from_scratch  # noqa: PLC0415
        from pipelines.training.new_folder import OutTaken  # noqa: PLC0415
    except ImportError as error:
        raise CannotStart(f"{error.name} is not installed; pip install 'callaudit[train]'") from error
    try:
        train_from_scratch(
            texts,
            out,
            Effort(shards, encoder_minutes=minutes, decoder_minutes=minutes, windows_minutes=minutes, seed=seed),
        )
    except (OutTaken, OtherWork, RuntimeError) as error:
        raise CannotStart(str(error)) from error
    typer.echo(f"CALLAUDIT_ASR_MODEL={out.resolve()}")
