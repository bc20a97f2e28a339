"""Corpus and general text -> which characters sound alike and follow each other, for a recogniser that cannot spell."""

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np

from models.homophones import END, MARK, START, Homophones
from models.trigrams import Counts, Ints, Trigrams
from pipelines.training.dataset import CORPUS, read_folder
from pipelines.training.new_file import file_written_whole
from pipelines.training.synthesis import HANZI, SYLLABLE, pinyin
from pipelines.training.texts import dialogue, held_out

_UNWRITTEN = re.compile("[^一-鿿]+")
_OF_CORPUS = 2  # a line of a call says more about calls than one of general text
_LEAST_TIMES = 2  # of a triple, and of a reading
_LEAST_SHARE = 0.01  # of a character's readings; rarer ones are mostly errors of the dictionary


def homophones(texts: Iterable[tuple[str, int]]) -> Homophones:
    """`texts`: each with how often it counts."""
    spelled, read = Counter[str](), Counter[tuple[str, str]]()
    for text, times in texts:
        spelled[START * 2 + _UNWRITTEN.sub(MARK, text).strip(MARK) + END] += times
        for reading in zip(HANZI.findall(text), filter(SYLLABLE.fullmatch, pinyin(text)), strict=False):
            read[reading] += times
    characters = sorted(set().union(*spelled))
    places = {character: place for place, character in enumerate(characters)}
    return Homophones(characters, _readings(read, places), _trigrams(spelled, places))


def _trigrams(spelled: Counter[str], places: dict[str, int]) -> Trigrams:
    size, pairs, triples = len(places), Counter[int](), Counter[int]()
    for text, times in spelled.items():
        numbers = [places[character] for character in text]
        for first, second in pairwise(numbers):
            pairs[first * size + second] += times
        for first, second, third in zip(numbers, numbers[1:], numbers[2:], strict=False):
            triples[(first * size + second) * size + third] += times
    often = {key: times for key, times in triples.items() if times >= _LEAST_TIMES}
    return Trigrams(size, Counts.of(pairs), Counts.of(often))


def _readings(read: Counter[tuple[str, str]], places: dict[str, int]) -> Ints:
    """(readings, 3): place of a character, number of a syllable, tone."""
    spoken = Counter[str]()
    for (character, _), times in read.items():
        spoken[character] += times
    kept = [
        (places[character], reading[:-1], int(reading[-1]))
        for (character, reading), times in sorted(read.items())
        if times >= max(_LEAST_TIMES, _LEAST_SHARE * spoken[character])
    ]
    syllables = {syllable: at for at, syllable in enumerate(sorted({syllable for _, syllable, _ in kept}))}
    return np.array([(place, syllables[syllable], tone) for place, syllable, tone in kept], np.int64)


def texts_of(reference: Path) -> Iterable[tuple[str, int]]:
    """What the recogniser was trained on too: nothing that is measured with."""
    yield from ((text, _OF_CORPUS) for text in {row.text for row in read_folder(CORPUS) if row.split == "train"})
    yield from ((text, 1) for text in {text for _, text, _ in dialogue(reference) if not held_out(text)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True, help="folder of reference data")
    parser.add_argument("--out", type=Path, required=True, help="homophones.npz, in the recogniser's folder")
    arguments = parser.parse_args()
    found = homophones(texts_of(arguments.reference))
    with file_written_whole(arguments.out) as unfinished:
        found.save(unfinished)
    pairs, triples = len(found.trigrams.pairs.keys), len(found.trigrams.triples.keys)
    print(f"{len(found.characters)} characters, {pairs} pairs, {triples} triples, {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
