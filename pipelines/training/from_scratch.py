"""Texts -> a recogniser of the bundled kind, trained from nothing: all stages in order, each kept once it is done."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.training.export_transcriber import export
from pipelines.training.new_file import file_written_whole
from pipelines.training.new_folder import check_free
from pipelines.training.recogniser import GUIDED, Recogniser, Stage, Vocabulary, configuration, load_weights
from pipelines.training.shards import read_texts, write_shards
from pipelines.training.synthesis import Synthesizer
from pipelines.training.transcriber import Training, train
from pipelines.training.windows import WINDOW_FRAMES


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of everything. The bundled recogniser had hours of every stage."""

    shards: int = 40
    utterances: int = 400  # of a shard
    encoder_minutes: float = 60
    decoder_minutes: float = 30
    windows_minutes: float = 60
    threads: int = 2
    seed: int = 0


class OtherWork(Exception):
    def __init__(self, work: Path) -> None:
        super().__init__(
            f"{work} is of a training from other texts, or with another seed, number of shards or of minutes; "
            "delete it to begin anew, or choose another --out"
        )


def train_from_scratch(texts: Sequence[Path], out: Path, effort: Effort | None = None) -> None:
    """Writes a folder for CALLAUDIT_ASR_MODEL. What is done already beside it, in OUT.work, is not done again.

    `texts`: JSONL files with a `text` field. Needs espeak-ng: RuntimeError says what to install. Raises OutTaken, and
    OtherWork if OUT.work is of other texts or another effort.
    """
    check_free(out)
    Synthesizer()  # where it is missing, stage windows would tell hours later
    chosen = effort or Effort()
    work = out.with_name(out.name + ".work")
    shards = work / "shards"
    words = work / "vocabulary.json"
    shards.mkdir(parents=True, exist_ok=True)
    _claim(work, texts, chosen)
    sources = [read_texts(path) for path in texts]
    if not words.is_file():
        Vocabulary.of([text for source in sources for text in source]).save(words)
    if len(list(shards.glob("[0-9]*.npz"))) < chosen.shards:
        write_shards(sources, shards, chosen.seed, chosen.shards, chosen.utterances)
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


def _claim(work: Path, texts: Sequence[Path], effort: Effort) -> None:
    """Write down what the work in `work` is done on. Raises OtherWork if that is something else."""
    record = work / "made_of.json"
    same = {
        "texts": [hashlib.sha256(path.read_bytes()).hexdigest() for path in texts],
        **{name: value for name, value in asdict(effort).items() if name != "threads"},  # as many as the machine has
    }
    if record.is_file():
        if json.loads(record.read_text("utf8")) != same:
            raise OtherWork(work)
        return
    if (work / "vocabulary.json").exists():
        raise OtherWork(work)
    with file_written_whole(record) as unfinished:
        unfinished.write_text(json.dumps(same) + "\n", "utf8")
