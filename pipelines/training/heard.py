"""Corpus rows -> spoken over a telephone -> what the recogniser makes of them, to train and measure the classifier."""

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.call import SAMPLE_RATE
from models.transcriber import Transcriber
from pipelines.training.dataset import CORPUS, Row, read_folder
from pipelines.training.shards import voiced
from pipelines.training.synthesis import HELD_OUT, VOICES, Synthesizer
from pipelines.training.telephone import Samples, degrade

_UNSPEAKABLE = re.compile(r"[^一-鿿，。？！]+")
_SILENCE = np.zeros(SAMPLE_RATE // 5, np.float32)
_AT_ONCE = 64


def heard(transcriber: Transcriber, rows: Sequence[Row], seed: int = 0) -> Iterator[tuple[str, str]]:
    """(text, as it was heard) of each row that can be spoken and fits a window; dev and test in held-out voices."""
    chooser, noise = random.Random(seed), np.random.default_rng(seed)
    synthesizer = Synthesizer()
    texts: list[str] = []
    sounds: list[Samples] = []
    for row in rows:
        sound = _spoken(synthesizer, row, chooser, noise)
        if 0.3 * SAMPLE_RATE < sound.size <= transcriber.window_s * SAMPLE_RATE:
            texts.append(row.text)
            sounds.append(sound)
        if len(sounds) == _AT_ONCE:
            yield from zip(texts, transcriber.again(sounds), strict=True)
            texts, sounds = [], []
    yield from zip(texts, transcriber.again(sounds), strict=True)


def _spoken(synthesizer: Synthesizer, row: Row, chooser: random.Random, noise: np.random.Generator) -> Samples:
    text = re.sub("，+", "，", _UNSPEAKABLE.sub("，", row.text)).strip("，")
    if not text:
        return _SILENCE
    voice = voiced(chooser, VOICES if row.split == "train" else HELD_OUT)
    speech = synthesizer.speak(text, voice).samples
    return np.concatenate([_SILENCE, degrade(speech, noise), _SILENCE]) if speech.size > 3_200 else _SILENCE


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bundled/transcriber")
    parser.add_argument("--train", type=int, default=4_000, help="rows of the training split; dev and test are whole")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    everything = read_folder(CORPUS)
    training = [row for row in everything if row.split == "train"]
    wanted = [row for row in everything if row.split != "train"]
    wanted += random.Random(0).sample(training, min(options.train, len(training)))
    found: dict[str, list[str]] = {}
    for text, words in heard(Transcriber(options.model, threads=options.threads), wanted):
        found.setdefault(text, []).append(words)
        if len(found) % 1_000 == 0:
            print(f"{len(found)} texts", flush=True)
    options.out.write_text(json.dumps(found, ensure_ascii=False, indent=0), "utf8")
