"""`callaudit train …`: data of one's own -> weights that the settings take."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from app.config import CannotStart, read_settings
from app.evaluate import rows_of

train = typer.Typer(no_args_is_help=True)


@train.callback()
def _train() -> None:
    """Train the models on data of your own."""


@train.command()
def classifier(
    *,
    base: Annotated[
        str, typer.Option(help="Encoder to fine-tune: name on the hub, folder, or scratch.", show_default=False)
    ],
    data: Annotated[list[Path], typer.Option(help="Folder of labelled utterances; repeatable.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the model.", show_default=False)],
    epochs: Annotated[int | None, typer.Option(min=1, help="Times over the data: 4, from scratch 8.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Learning rate: 3e-5, from scratch 5e-4.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Utterances a step.")] = 32,
    warm_up: Annotated[int, typer.Option(min=1, help="Steps until the full rate.")] = 100,
    seed: Annotated[int, typer.Option(help="Another one gives other weights.")] = 0,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="auto: bf16 or fp16 on a GPU, fp32 elsewhere.")
    ] = "auto",
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps; a killed run goes on from the last.")] = 200,
    adversarial: Annotated[
        float,
        typer.Option(min=0, help="How far words are moved to be harder to tell, such as 0.5; takes twice as long."),
    ] = 0.0,
    plain: Annotated[
        int | None,
        typer.Option(min=0, help="Compliant rows an epoch that resemble no abuse, drawn anew; all if left out."),
    ] = None,
    heard: Annotated[
        Path | None, typer.Option(help="JSON: text to what a recogniser made of it, to train on as well.")
    ] = None,
    evaluation: Annotated[bool, typer.Option(help="Measure it afterwards, beside baselines.")] = True,
) -> None:
    """Fine-tune an encoder to label utterances; run it again with the same options after a kill.

    Weights, tokenizer, thresholds and card go into the folder, which CALLAUDIT_CLASSIFIER takes.
    """
    rows = rows_of(data)  # before torch is loaded, so that a wrong line is told at once
    try:
        from app.classifier_training import train_classifier_on  # noqa: PLC0415
        from pipelines.training.fine_tuning import FineTuning  # noqa: PLC0415
    except ImportError as error:
        raise CannotStart(f"{error.name} is not installed; pip install 'callaudit[train]'") from error
    scratch = base == "scratch"
    options = FineTuning(
        epochs=epochs or (8 if scratch else 4),
        rate=rate or (5e-4 if scratch else 3e-5),
        batch=batch,
        warm_up=warm_up,
        seed=seed,
        precision=precision,
        checkpoint_every=checkpoint_every,
        adversarial=adversarial,
        plain=plain,
    )
    train_classifier_on(read_settings(), base, rows, out, options=options, heard=heard, then_evaluate=evaluation)


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
