"""Shards of speech -> a Whisper-architecture Mandarin recogniser, trained from scratch.

Synthetic speech knows when each syllable sounds, so nothing has to be aligned by chance: stage `encoder` learns the
syllable of every frame, stage `decoder` learns to read them with two heads taught where to look, and stage `windows`
trains the whole on padded windows as faster-whisper feeds them (`joint` does so on single utterances, cheaper).
"""

import argparse
import random
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from pipelines.training.babble import Babble
from pipelines.training.denormals import flushed_denormals
from pipelines.training.recogniser import (
    Recogniser,
    Stage,
    Vocabulary,
    configuration,
    load_weights,
    save,
)
from pipelines.training.shards import read_texts
from pipelines.training.synthesis import VOICES
from pipelines.training.windows import WINDOW_FRAMES, short_batches, window_batches

WEIGHTS = {"teacher": 0.3, "syllable": 0.5, "before": 0.2, "tone": 0.2, "decoding": 1.0, "following": 0.3}


@dataclass(frozen=True, slots=True)
class Training:
    """One stage's training."""

    vocabulary: Path
    shards: Path
    out: Path
    init: Path | None = None  # a stage's weights, or an exported folder such as the bundled one
    stage: Stage = "encoder"
    minutes: float = 10
    rate: float = 1e-3
    warmup: int = 300  # steps
    decay: float = 0.0  # last share of the time, in which the rate falls to 0
    batch: int = 6_000  # frames
    longest: int = WINDOW_FRAMES  # frames of speech in a window, at most
    threads: int = 2
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: twice as fast where the processor multiplies it (AMX)
    seed: int = 0


@flushed_denormals()
def train(options: Training) -> None:
    """Raises RuntimeError saying what to install, if stage `windows` lacks espeak-ng."""
    babble = Babble(VOICES, "train") if options.stage == "windows" else None
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    chooser = random.Random(options.seed)
    vocabulary = Vocabulary.load(options.vocabulary)
    model = Recogniser(configuration(len(vocabulary)), len(vocabulary.syllables))
    if options.precision == "bf16":  # the fused attention does not use AMX
        model.whisper.set_attn_implementation("eager")
    if options.init and options.init.is_dir():
        from pipelines.training.import_transcriber import restore  # noqa: PLC0415 - it knows this model

        restore(model, vocabulary, options.init)
    elif options.init:
        load_weights(model, options.init)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)
    step = 0
    if babble:
        batches = window_batches(options.shards, vocabulary, chooser, options.batch, options.longest, babble=babble)
    else:
        batches = short_batches(options.shards, vocabulary, chooser, options.batch)
    began = reported = time.monotonic()
    sums, counts = Counter[str](), Counter[str]()
    for batch in batches:
        spent = (time.monotonic() - began) / 60 / options.minutes
        if spent >= 1:
            break
        decay = max(0.02, min(1.0, (1 - spent) / options.decay)) if options.decay else 1.0
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, (step + 1) / options.warmup) * decay
        with torch.autocast("cpu", torch.bfloat16) if options.precision == "bf16" else nullcontext():
            losses = model.losses(batch, options.stage)
        loss = sum(WEIGHTS[name] * part for name, part in losses.items())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        sums.update({name: part.item() for name, part in losses.items()})
        counts.update(losses.keys())
        sums.update(seconds=int((batch.syllable >= 0).sum()) / 50)
        if step % 50 == 0:
            means = " ".join(f"{name} {sums[name] / count:.3f}" for name, count in counts.items())
            speed = sums["seconds"] / (time.monotonic() - reported)
            minute = spent * options.minutes
            print(f"{options.stage} step {step} minute {minute:.1f} {means} speed {speed:.0f}x", flush=True)
            sums.clear()
            counts.clear()
            reported = time.monotonic()
        if step % 500 == 0:
            save(model, options.out)
    save(model, options.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=Path, required=True, help="file that --texts made, or an exported folder")
    parser.add_argument("--texts", type=Path, nargs="*", help="make the vocabulary from these and stop")
    parser.add_argument("--shards", type=Path, help="folder of shards to train on")
    parser.add_argument("--out", type=Path, help="file of the weights")
    parser.add_argument("--init", type=Path, help="a stage's weights, or an exported folder such as the bundled one")
    parser.add_argument("--stage", choices=get_args(Stage), default="encoder")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--decay", type=float, default=0.0, help="last share of the time in which the rate falls to 0")
    parser.add_argument("--batch", type=int, default=6_000, help="frames a batch")
    parser.add_argument("--longest", type=int, default=WINDOW_FRAMES, help="frames of speech in a window, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seed", type=int, default=0)
    chosen = vars(parser.parse_args())
    if texts := chosen.pop("texts"):
        Vocabulary.of([text for path in texts for text in read_texts(path)]).save(chosen["vocabulary"])
    elif missing := [f"--{name}" for name in ("shards", "out") if chosen[name] is None]:
        parser.error(f"training needs {' and '.join(missing)}; to make a vocabulary and stop, give --texts")
    else:
        train(Training(**chosen))


if __name__ == "__main__":
    main()
