"""Texts -> a recogniser of the bundled kind, trained from nothing: all stages in order, each kept once it is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.training.export_transcriber import export
from pipelines.training.shards import read_texts, write_shards
from pipelines.training.transcriber import (
    GUIDED,
    WINDOW_FRAMES,
    Recogniser,
    Stage,
    Training,
    Vocabulary,
    configuration,
    load_weights,
    train,
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of everything. The bundled recogniser had hours of every stage."""

    shards: int = 40  # of 400 utterances
    encoder_minutes: float = 60
    decoder_minutes: float = 30
    windows_minutes: float = 60
    threads: int = 2
    seed: int = 0


def train_from_scratch(texts: Sequence[Path], out: Path, effort: Effort | None = None) -> None:
    """Writes a folder for CALLAUDIT_ASR_MODEL. What is done already beside it, in OUT.work, is not done again.

    `texts`: JSONL files with a `text` field. Needs espeak-ng: RuntimeError says what to install.
    """
    chosen = effort or Effort()
    work = out.with_name(out.name + ".work")
    shards = work / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    sources = [read_texts(path) for path in texts]
    words = work / "vocabulary.json"
    if not words.is_file():
        Vocabulary.of([text for source in sources for text in source]).save(words)
    if len(list(shards.glob("[0-9]*.npz"))) < chosen.shards:
        write_shards(sources, shards, chosen.seed, chosen.shards)
    before: Path | None = None
    stages: dict[Stage, tuple[float, float, int]] = {
        "encoder": (chosen.encoder_minutes, 1e-3, 6_000),
        "decoder": (chosen.decoder_minutes, 1e-3, 6_000),
        "windows": (chosen.windows_minutes, 3e-4, 8 * WINDOW_FRAMES),
    }
    for stage, (minutes, rate, batch) in stages.items():
        weights = work / f"{stage}.pt"
        done = work / f"{stage}.done"
        if not done.is_file():
            train(
                Training(
                    vocabulary=words,
                    shards=shards,
                    out=weights,
                    init=weights if weights.is_file() else before,  # the training saves itself now and then
                    stage=stage,
                    minutes=minutes,
                    rate=rate,
                    decay=0.3,
                    batch=batch,
                    threads=chosen.threads,
                    seed=chosen.seed,
                )
            )
            done.touch()
        before = weights
    vocabulary = Vocabulary.load(words)
    recogniser = Recogniser(configuration(len(vocabulary)), len(vocabulary.syllables))
    load_weights(recogniser, work / "windows.pt")
    export(recogniser, vocabulary, out, list(GUIDED))
