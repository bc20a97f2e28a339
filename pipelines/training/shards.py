"""Sentences -> shards of synthetic telephone speech: log-mel frames with their words and pinyin units."""

import argparse
import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from numpy.typing import NDArray
from opencc import OpenCC
from pypinyin import Style, lazy_pinyin

from pipelines.training.synthesis import VOICES, Synthesizer, Voice
from pipelines.training.telephone import degrade

HANZI = re.compile(r"[一-鿿]")
_SPEAKABLE = re.compile(r"[一-鿿，。？！]+")
_FILTERS = torch.tensor(FeatureExtractor.get_mel_filters(16_000, 400, 80), dtype=torch.float32)
_WINDOW = torch.hann_window(400)


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float16]:
    """(frames, 80) log10 mel power at 100 frames a second, before Whisper's scaling by the window's maximum."""
    spectrum = torch.stft(torch.from_numpy(samples), 400, 160, window=_WINDOW, return_complex=True)
    mel = _FILTERS @ spectrum[:, :-1].abs() ** 2
    return mel.clamp(min=1e-10).log10().T.half().numpy()


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


def read_texts(paths: list[Path]) -> list[str]:
    """Sentences of .jsonl(.gz) files with a `text` field."""
    simplify = OpenCC("t2s").convert
    found: list[str] = []
    for path in paths:
        with gzip.open(path, "rt", encoding="utf8") if path.suffix == ".gz" else path.open(encoding="utf8") as lines:
            for line in lines:
                found.extend(sentences(simplify(json.loads(line)["text"])))
    return found


def pinyin_units(text: str) -> list[list[str]]:
    """Toneless initial and final of every Chinese character in turn: what the encoder's CTC loss spells."""
    characters = "".join(HANZI.findall(text))
    initials = lazy_pinyin(characters, style=Style.INITIALS, strict=False)
    finals = lazy_pinyin(characters, style=Style.FINALS, strict=False)
    return [[unit for unit in pair if unit] for pair in zip(initials, finals, strict=True)]


def write_shards(texts: list[str], out: Path, seed: int, count: int, per_shard: int = 400) -> None:
    """`count` shards of `per_shard` random texts, each in a random voice over a random telephone path."""
    chooser, noise_of = random.Random(seed), np.random.default_rng(seed)
    synthesizer = Synthesizer()
    before = np.zeros(0, np.float32)
    for number in range(count):
        frames, spoken, lengths = [], [], []
        for _ in range(per_shard):
            text = chooser.choice(texts)
            voice = Voice(
                chooser.choice(VOICES), chooser.randint(15, 85), chooser.randint(25, 85), chooser.randint(170, 310)
            )
            speech = synthesizer.speak(text, voice)
            if speech.size < 3_200:
                continue
            heard = degrade(speech, noise_of, before if before.size >= speech.size else None)
            before = speech
            pause = np.zeros(int(chooser.uniform(0.05, 0.3) * 16_000), np.float32)
            mel = log_mel(np.concatenate([pause, heard, pause]))
            frames.append(mel)
            spoken.append(text)
            lengths.append(len(mel))
        target = out / f"{seed:03d}-{number:04d}.npz"
        with (out / f".{target.name}").open("wb") as unfinished:
            np.savez(unfinished, mel=np.concatenate(frames), lengths=lengths, texts=spoken)
        Path(unfinished.name).rename(target)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_shards(read_texts(options.texts), options.out, options.seed, options.count)
