"""Encoder and rows -> the encoder fine-tuned, from where a killed run left off.

Each step draws from a seed of its own, so a run that was resumed ends with the weights of one that was not.
"""

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from transformers import PreTrainedModel

from models.classifier import OUTPUTS, inputs_taken
from models.encoding import Encoding
from pipelines.training.dataset import Row
from pipelines.training.denormals import flushed_denormals
from pipelines.training.examples import Pair, known, target, weight_of
from pipelines.training.new_file import file_written_whole

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class OtherRun(Exception):
    def __init__(self, checkpoint: Path) -> None:
        super().__init__(
            f"{checkpoint} is of a run with other data, another base or other options; "
            "delete it to begin anew, or choose another --out"
        )


@dataclass(frozen=True, slots=True)
class FineTuning:
    """How an encoder is fine-tuned."""

    epochs: int = 4
    rate: float = 3e-5
    batch: int = 32
    warm_up: int = 100  # steps
    seed: int = 0
    precision: Precision = "auto"  # bf16 or fp16 on a GPU, fp32 elsewhere
    checkpoint_every: int = 200  # steps
    adversarial: float = 0.0  # length of a step of the word embeddings to where the loss grows; costs as much again
    plain: int | None = None  # compliant rows that resemble no abuse: so many an epoch, others each time; None: all


@dataclass(frozen=True, slots=True)
class Step:
    """What a watcher is told now and then."""

    done: int
    done_now: int  # of them since the run was begun or resumed
    steps: int
    loss: float  # mean since the last one


@flushed_denormals()
def fine_tune(
    model: PreTrainedModel,
    encode: Encoding,
    rows: Sequence[Row],
    *,
    shown: Callable[[Row, random.Random], Pair],
    options: FineTuning,
    watch: Callable[[Step], None],
    device: str = "cpu",
    checkpoint: Path | None = None,
    run: str = "",
) -> None:
    """Changes `model`, and leaves it on `device` in evaluation mode.

    `shown`: a row -> the pair the model sees of it, drawn anew each epoch. `run` names all else that the result
    depends on. Raises OtherRun if `checkpoint` was written by another run.
    """
    model.to(device).train()
    kind = _precision(options.precision, device)
    if device == "cpu" and kind != torch.float32:
        model.set_attn_implementation("eager")  # torch's fused attention takes twice as long there, backwards
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.01)
    scaler = torch.amp.GradScaler(device, enabled=kind == torch.float16)
    weights = torch.tensor([weight_of(output) for output in OUTPUTS], device=device)
    taken = inputs_taken(model.forward)
    of_epoch = math.ceil(len(_drawn(rows, options, 0)) / options.batch)
    steps = options.epochs * of_epoch
    name = hashlib.sha256(f"{run} {options} {steps}".encode()).hexdigest()
    begin = _resume(checkpoint, name, device, model=model, optimiser=optimiser, scaler=scaler)
    loss_since, steps_since = 0.0, 0

    def loss_of(inputs: dict[str, Tensor], batch: Sequence[Row]) -> Tensor:
        with torch.autocast(device.partition(":")[0], kind, enabled=kind != torch.float32):
            logits = model(**inputs).logits
        return _loss(logits.float(), batch, weights)

    for step in range(begin, steps):
        if step == begin or step % of_epoch == 0:
            batches = _batches(rows, options, step // of_epoch)
        chooser = random.Random(f"{options.seed} step {step}")
        torch.manual_seed(chooser.getrandbits(63))
        batch = batches[step % of_epoch]
        arrays = encode([shown(row, chooser) for row in batch])
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, (step + 1) / options.warm_up) * _cosine(step / steps)
        inputs = {name: torch.from_numpy(arrays[name]).to(device) for name in taken}
        loss = loss_of(inputs, batch)
        optimiser.zero_grad()
        scaler.scale(loss).backward()
        if options.adversarial:
            with _moved(model.get_input_embeddings().parameters(), options.adversarial):
                scaler.scale(loss_of(inputs, batch)).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimiser)
        scaler.update()
        loss_since, steps_since = loss_since + loss.item(), steps_since + 1
        if steps_since == 50 or step + 1 == steps:
            watch(Step(step + 1, step + 1 - begin, steps, loss_since / steps_since))
            loss_since, steps_since = 0.0, 0
        if checkpoint and (step + 1) % options.checkpoint_every == 0:
            _save(checkpoint, name, step + 1, model=model, optimiser=optimiser, scaler=scaler)
    model.eval()


@contextmanager
def _moved(embeddings: Iterable[Parameter], length: float) -> Iterator[None]:
    """Words as they are hardest to tell apart nearby: the fast gradient method of Miyato et al. (arXiv 1605.07725)."""
    moved = [(part, part.detach().clone(), part.grad) for part in embeddings if part.grad is not None]
    norm = torch.stack([gradient.norm() for _, _, gradient in moved]).norm().clamp(min=1e-12)
    with torch.no_grad():
        for part, _, gradient in moved:
            part.add_(gradient * (length / norm))
    yield
    with torch.no_grad():
        for part, before, _ in moved:
            part.copy_(before)


def _loss(logits: Tensor, batch: Sequence[Row], weights: Tensor) -> Tensor:
    wanted = torch.tensor([target(row) for row in batch], device=logits.device)
    told = torch.tensor([known(row) for row in batch], device=logits.device)
    losses = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    mean: Tensor = (losses * weights * told).mean()
    return mean


def _batches(rows: Sequence[Row], options: FineTuning, epoch: int) -> list[list[Row]]:
    """The epoch's rows once, in batches of like length with their context: padding costs as much as text."""
    chooser = random.Random(f"{options.seed} epoch {epoch}")
    order = sorted(
        _drawn(rows, options, epoch), key=lambda row: len("".join((row.text, *row.previous))) + chooser.uniform(0, 15)
    )
    batches = [list(order[i : i + options.batch]) for i in range(0, len(order), options.batch)]
    chooser.shuffle(batches)
    return batches


def _drawn(rows: Sequence[Row], options: FineTuning, epoch: int) -> list[Row]:
    plain = [row for row in rows if not (row.labels or row.hard)]
    if options.plain is None or options.plain >= len(plain):
        return list(rows)
    telling = [row for row in rows if row.labels or row.hard]
    return telling + random.Random(f"{options.seed} plain {epoch}").sample(plain, options.plain)


def _cosine(share: float) -> float:
    return max(0.01, 0.5 + 0.5 * math.cos(math.pi * min(1, share)))


def _precision(wanted: Precision, device: str) -> torch.dtype:
    if wanted == "auto":
        if not device.startswith("cuda"):
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]


def _save(checkpoint: Path, run: str, step: int, **parts: Any) -> None:
    """Whole or not at all, whenever the power goes."""
    saved = {"run": run, "step": step, **{name: part.state_dict() for name, part in parts.items()}}
    with file_written_whole(checkpoint) as unfinished:
        torch.save(saved, unfinished)


def _resume(checkpoint: Path | None, run: str, device: str, **parts: Any) -> int:
    """The step to go on with."""
    if checkpoint is None or not checkpoint.is_file():
        return 0
    saved = torch.load(checkpoint, map_location=device, weights_only=True)
    if saved["run"] != run:
        raise OtherRun(checkpoint)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return int(saved["step"])
