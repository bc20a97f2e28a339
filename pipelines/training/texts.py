"""General Chinese text with its turns before, from the folder of reference data, for pre-training and as ordinary talk.

The folder is not part of the project; its README names sources and licences.
"""

import csv
import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

Pair = tuple[str, str]
ORDINARY = ("kdconv", "crosswoz", "lccc-toy")


def held_out(text: str, share: int = 5) -> bool:
    """One text in `share`, by its hash, is kept for measuring and never trained on."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % share == 0


def dialogue(data: Path) -> Iterator[tuple[str, str, str]]:
    """(source, text, the turn before it) of the telephone and task dialogues."""
    before = ("", "")
    for line in _lines(data / "text" / "dialogue.jsonl.gz"):
        row = json.loads(line)
        text, source = row["text"].strip(), row["source"]
        if text:
            yield source, text, before[1] if before[0] == source else ""
        before = (source, text)


def pretraining_pairs(data: Path) -> list[Pair]:
    """(text, turn before) of everything but what is held out. Raises FileNotFoundError naming what is missing."""
    pairs = [(text, previous) for _, text, previous in dialogue(data) if not held_out(text)]
    with gzip.open(_there(data / "text" / "cold" / "train.csv.gz"), "rt", encoding="utf8") as table:
        pairs += [(row["TEXT"], "") for row in csv.DictReader(table)]
    pairs += [(text, "") for text in insults(data) if not held_out(text, 2)]
    return pairs


def ordinary_talk(data: Path) -> list[Pair]:
    """Task dialogues and small talk, in which nobody collects a debt, without what is held out for measuring."""
    return [(t, p) for source, t, p in dialogue(data) if source.startswith(ORDINARY) and not held_out(t)]


def insults(data: Path) -> list[str]:
    return [
        json.loads(line)["text"]
        for line in _there(data / "text" / "insults_zuanbot.jsonl").read_text("utf8").splitlines()
    ]


def read_sentences(data: Path) -> list[dict[str, str]]:
    """What people read aloud: `text`, `speaker`, and `audio`, a file in the folder's `speech`."""
    index = _there(data / "speech" / "sentences.jsonl")
    return [json.loads(line) for line in index.read_text("utf8").splitlines()]


def _lines(file: Path) -> Iterator[str]:
    with gzip.open(_there(file), "rt", encoding="utf8") as lines:
        yield from lines


def _there(file: Path) -> Path:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: --reference must name the folder of reference data")
    return file
