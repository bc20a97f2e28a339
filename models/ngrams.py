"""Utterances with context -> logits by weighted n-grams of characters and syllables, beside a small encoder's."""

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CONTEXT_WEIGHT = 0.4  # what was said before hints, the utterance itself decides
_LONGEST = 3
_MARKS = re.compile(r"\W+")

Floats = NDArray[np.float32]


def features(text: str, context: str, sounds: dict[str, str]) -> tuple[list[int], list[int]]:
    """Hashed n-grams of an utterance, and of what was said before it.

    `sounds`: character -> its syllable, told no finer than a telephone does. Two lists, for the context's come with
    less weight.
    """
    said = ["^", *_MARKS.sub("", text), "$"]
    heard = [sounds.get(character, character) for character in said]
    of_text = [*_hashed("c", said), *_hashed("s", heard)]
    return of_text, list(_hashed("b", _MARKS.sub("", context)))


def _hashed(kind: str, sequence: Sequence[str]) -> Iterator[int]:
    for length in range(1, _LONGEST + 1):
        for at in range(len(sequence) - length + 1):
            yield zlib.crc32(f"{kind}{'|'.join(sequence[at : at + length])}".encode())


def tf_idf(
    hashed: Sequence[Sequence[int]], keys: NDArray[np.uint32], rarity: Floats
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Row (ascending), place among `keys` and value of each known feature; counts are sublinear, a row's length is 1.

    `keys`: (features,) ascending; `rarity`: (features,) inverse document frequency.
    """
    rows = np.repeat(np.arange(len(hashed), dtype=np.uint64), [len(found) for found in hashed])
    numbered = rows << 32 | np.fromiter(chain.from_iterable(hashed), np.uint64, len(rows))
    distinct, counts = np.unique(numbered, return_counts=True)
    found = distinct.astype(np.uint32)
    places = np.searchsorted(keys, found).clip(max=len(keys) - 1)
    known = keys[places] == found
    places, row = places[known], (distinct[known] >> 32).astype(np.intp)
    values = (1 + np.log(counts[known])) * rarity[places]
    lengths = np.sqrt(np.bincount(row, values**2, len(hashed)))
    return row, places, values / lengths[row]


@dataclass(frozen=True, slots=True)
class Ngrams:
    """A linear model over TF-IDF, one column an output, and how it is added to an encoder's logits."""

    keys: NDArray[np.uint32]  # (features,) ascending
    rarity: Floats  # (features,) inverse document frequency
    weights: Floats  # (features, outputs)
    intercept: Floats  # (outputs,)
    sounds: dict[str, str]
    blend: Floats  # (3, outputs): factor of the encoder's logits, of these, and what is added

    @classmethod
    def load(cls, file: Path) -> "Ngrams":
        with np.load(file, allow_pickle=False) as saved:
            sounds = dict(zip(saved["characters"].tolist(), saved["syllables"].tolist(), strict=True))
            keys, *floats = (saved[name] for name in ("keys", "rarity", "weights", "intercept", "blend"))
            rarity, weights, intercept, blend = (part.astype(np.float32) for part in floats)
        return cls(keys, rarity, weights, intercept, sounds, blend)

    def save(self, file: Path) -> None:
        np.savez_compressed(
            file,
            keys=self.keys,
            rarity=self.rarity.astype(np.float16),
            weights=self.weights.astype(np.float16),
            intercept=self.intercept,
            blend=self.blend,
            characters=np.array(list(self.sounds)),
            syllables=np.array(list(self.sounds.values())),
        )

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """(pairs, outputs): logits of (utterance, what was said before it)."""
        hashed = [features(*pair, self.sounds) for pair in pairs]
        of_text, of_context = (self._logits([found[part] for found in hashed]) for part in (0, 1))
        return self.intercept + of_text + CONTEXT_WEIGHT * of_context

    def _logits(self, hashed: Sequence[list[int]]) -> Floats:
        """(rows, outputs): what the known features of each row say."""
        row, places, values = tf_idf(hashed, self.keys, self.rarity)
        told = values[:, None] * self.weights[places]
        sums = np.concatenate([np.zeros((1, told.shape[1])), told.cumsum(axis=0)])
        bounds = np.searchsorted(row, np.arange(len(hashed) + 1))
        logits: Floats = (sums[bounds[1:]] - sums[bounds[:-1]]).astype(np.float32)
        return logits

    def blended(self, encoder: Floats, pairs: Sequence[tuple[str, str]]) -> Floats:
        """The encoder's logits (pairs, outputs) and these, as they were weighed against each other on dev."""
        of_encoder, of_ngrams, added = self.blend
        result: Floats = of_encoder * encoder + of_ngrams * self(pairs) + added
        return result
