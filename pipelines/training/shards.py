"""Sentences -> shards of synthetic telephone speech: log-mel frames with their words and the time of each."""

import argparse
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray

from models.simplified import simplified
from pipelines.training.new_file import file_written_whole
from pipelines.training.synthesis import HANZI, VOICES, Synthesizer, Voice
from pipelines.training.telephone import degrade
from pipelines.training.texts import held_out

HUMAN = "human"  # in the name of a shard of people's speech
_SPEAKABLE = re.compile(r"[一-鿿，。？！]+")
_FILTERS = torch.tensor(FeatureExtractor.get_mel_filters(16_000, 400, 80), dtype=torch.float32)
_WINDOW = torch.hann_window(400)


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float16]:
    """(frames, 80) log10 mel power at 100 frames a second, before Whisper's scaling by the window's maximum."""
    spectrum = torch.stft(torch.from_numpy(samples), 400, 160, window=_WINDOW, return_complex=True)
    mel = _FILTERS @ spectrum[:, :-1].abs() ** 2
    return mel.clamp(min=1e-10).log10().T.half().numpy()


def scaled(mel: torch.Tensor) -> torch.Tensor:
    """Log-mel power as Whisper's encoder takes it: nothing lies more than 8 below the loudest."""
    return (torch.maximum(mel, mel.max() - 8) + 4) / 4


def sentences(text: str, longest: int = 26) -> Iterator[str]:
    """Speakable stretches of a text: Chinese characters and four marks, cut where they grow too long."""
    text = re.sub(r"[、；：,;:…—~～\s]+", "，", text)
    text = text.replace("?", "？").replace("!", "！").replace(".", "。")
    text = re.sub(r"[“”\"'‘’《》（）()]", "", text)
    part = ""
    for clause in re.findall(r"[^，。？！]+[，。？！]*", text):
        mark = clause[-1] if clause[-1] in "，。？！" else ""
        piece = re.sub(r"[，。？！]+$", "", clause) + mark
        if part and len(part) + len(piece) > longest:
            yield from _speakable(part)
            part = ""
        part += piece
    yield from _speakable(part)


def _speakable(part: str) -> Iterator[str]:
    part = part.strip("，")
    if _SPEAKABLE.fullmatch(part) and 1 < len(part) <= 40:
        yield part


def read_texts(path: Path) -> list[str]:
    """Sentences of a .jsonl(.gz) file with a `text` field; what is kept for measuring is left out."""
    found: list[str] = []
    with gzip.open(path, "rt", encoding="utf8") if path.suffix == ".gz" else path.open(encoding="utf8") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("split", "train") == "train" and ("split" in row or not held_out(row["text"])):
                found.extend(sentences(simplified(row["text"])))
    return found


def voiced(chooser: random.Random, variants: Sequence[str] = VOICES) -> Voice:
    return Voice(chooser.choice(variants), chooser.randint(15, 85), chooser.randint(25, 85), chooser.randint(165, 310))


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance."""

    mel: NDArray[np.float16]  # (frames, 80), log10
    text: str
    syllables: tuple[str, ...]  # with tone number, one a Chinese character
    spans: NDArray[np.int16]  # (syllables, 2), frames; (0, 2) where nobody knows when each syllable sounds
    taught: NDArray[np.float16] | None = None  # (frames / 2, features) that a teacher hears in it


def clip_of(
    heard: NDArray[np.float32],
    text: str,
    syllables: Sequence[str],
    spans: NDArray[np.float32],
    *,
    chooser: random.Random,
    teach: Callable[[NDArray[np.float32]], NDArray[np.float16]] | None = None,
) -> Clip:
    """`heard`: samples, which get a little silence at both ends; `spans`: (syllables, 2), seconds."""
    lead, tail = (np.zeros(int(chooser.uniform(0.05, 0.3) * 16_000), np.float32) for _ in range(2))
    samples = np.concatenate([lead, heard, tail])
    frames = ((spans + lead.size / 16_000) * 100).round().astype(np.int16)
    return Clip(log_mel(samples), text, tuple(syllables), frames, teach(samples) if teach else None)


def write_shard(clips: Sequence[Clip], target: Path) -> None:
    """`mel` (frames, 80) of all clips, `lengths`, `texts`, `syllables` (joined by spaces), `spans` of all clips and how
    many each has, `taught` of all clips if a teacher heard them. Whole or not at all.
    """
    parts = {
        "mel": np.concatenate([clip.mel for clip in clips]),
        "lengths": np.array([len(clip.mel) for clip in clips]),
        "texts": np.array([clip.text for clip in clips]),
        "syllables": np.array([" ".join(clip.syllables) for clip in clips]),
        "spans": np.concatenate([clip.spans for clip in clips]),
        "timed": np.array([len(clip.spans) for clip in clips]),
    }
    taught = [clip.taught for clip in clips if clip.taught is not None]
    if taught:
        parts |= {"taught": np.concatenate(taught), "positions": np.array([len(heard) for heard in taught])}
    with file_written_whole(target) as unfinished:
        np.savez(unfinished, **parts)


def read_shard(shard: Path) -> list[Clip]:
    data = np.load(shard)
    syllables = [tuple(str(joined).split()) for joined in data["syllables"]]
    mels = np.split(data["mel"], np.cumsum(data["lengths"])[:-1])
    timed = data["timed"] if "timed" in data else [len(s) for s in syllables]
    spans = np.split(data["spans"], np.cumsum(timed)[:-1])
    taught = np.split(data["taught"], np.cumsum(data["positions"])[:-1]) if "taught" in data else [None] * len(mels)
    return [
        Clip(mel, str(text), sounds, span, heard)
        for mel, text, sounds, span, heard in zip(mels, data["texts"], syllables, spans, taught, strict=True)
    ]


def write_shards(sources: list[list[str]], out: Path, seed: int, count: int, per_shard: int = 400) -> None:
    """`count` shards of `per_shard` texts, each source as often as another, in random voices over random lines."""
    write_series(_synthetic(sources, seed), out, f"{seed:03d}", count, per_shard)


def write_series(clips: Iterator[Clip], out: Path, name: str, count: int, per_shard: int) -> None:
    """`count` shards of `per_shard` clips each, called by `name` and a number."""
    for number in range(count):
        write_shard(list(islice(clips, per_shard)), out / f"{name}-{number:04d}.npz")


def _synthetic(sources: list[list[str]], seed: int) -> Iterator[Clip]:
    """For ever."""
    chooser, noise_of = random.Random(seed), np.random.default_rng(seed)
    synthesizer = Synthesizer()
    before = np.zeros(0, np.float32)
    while True:
        text = chooser.choice(chooser.choice(sources))
        speech = synthesizer.speak(text, voiced(chooser))
        if speech.samples.size < 3_200 or len(speech.syllables) != len(HANZI.findall(text)):
            continue
        samples = speech.samples
        heard = degrade(samples, noise_of, before if before.size >= samples.size else None)
        before = samples
        yield clip_of(heard, text, speech.syllables, speech.spans, chooser=chooser)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, nargs="+", help="a file named twice is drawn from twice as often")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_shards([read_texts(path) for path in options.texts], options.out, options.seed, options.count)
