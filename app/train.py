"""`callaudit train …`: data of one's own -> weights that the settings take."""

from pathlib import Path
from typing import Annotated

import typer

train = typer.Typer(no_args_is_help=True)


@train.callback()
def _train() -> None:
    """Train the models on data of your own."""


@train.command()
def asr(
    *,
    out: Annotated[Path, typer.Option(help="Folder to write, for CALLAUDIT_ASR_MODEL.")],
    base: Annotated[str | None, typer.Option(help="Whisper of transformers: a folder, or a name of the hub.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="JSONL: audio, text, and if need be start, end (seconds) and channel.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 3,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    accumulate: Annotated[int, typer.Option(min=1, help="Batches a step.")] = 2,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-5,
    held_out: Annotated[float, typer.Option(min=0, max=0.5, help="Share of the clips to measure on.")] = 0.05,
    freeze_encoder: Annotated[bool, typer.Option(help="Less memory, and less to learn of the sound.")] = False,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 100,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quantization: Annotated[
        str, typer.Option(help="Of the folder: int8, float16, … as CTranslate2 has it.")
    ] = "default",
    seed: int = 0,
    from_scratch: Annotated[bool, typer.Option(help="Train the bundled kind from nothing, on --texts.")] = False,
    texts: Annotated[list[Path] | None, typer.Option(help="JSONL with text, to be spoken by espeak-ng.")] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Of each stage of --from-scratch.")] = 60.0,
    shards: Annotated[int, typer.Option(min=1, help="Of 400 utterances, for --from-scratch.")] = 40,
) -> None:
    """Fine-tune a Whisper on calls of your own; killed and started again, it goes on where it was."""
    from app.train_asr import fine_tune_asr, train_asr_from_scratch  # noqa: PLC0415

    if from_scratch:
        train_asr_from_scratch(texts or [], out, minutes, shards, seed)
        return
    if base is None or data is None:
        raise typer.BadParameter("give --base and --data, or --from-scratch and --texts")
    options = {
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "learning_rate": learning_rate,
        "held_out_share": held_out,
        "freeze_encoder": freeze_encoder,
        "checkpoint_every": checkpoint_every,
        "device": device,
        "quantization": quantization,
        "seed": seed,
    }
    fine_tune_asr(base, data, out, options)
