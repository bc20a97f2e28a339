"""Utterances with context -> logits by weighted n-grams of characters and syllables, beside a small encoder's."""

import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
        logits = np.tile(self.intercept, (len(pairs), 1))
        for row, pair in enumerate(pairs):
            of_text, of_context = features(*pair, self.sounds)
            for hashed, weight in ((of_text, 1.0), (of_context, CONTEXT_WEIGHT)):
                places, values = self._weighed(hashed)
                logits[row] += weight * values @ self.weights[places]
        return logits

    def _weighed(self, hashed: list[int]) -> tuple[NDArray[np.intp], Floats]:
        """Places of the known features, and their TF-IDF with sublinear counts, of length 1 together."""
        found, counts = np.unique(np.array(hashed, np.uint32), return_counts=True)
        places = np.searchsorted(self.keys, found).clip(max=len(self.keys) - 1)
        known = self.keys[places] == found
        places = places[known]
        values = (1 + np.log(counts[known])).astype(np.float32) * self.rarity[places]
        return places, values / max(float(np.linalg.norm(values)), 1e-9)

    def blended(self, encoder: Floats, pairs: Sequence[tuple[str, str]]) -> Floats:
        """The encoder's logits (pairs, outputs) and these, as they were weighed against each other on dev."""
        of_encoder, of_ngrams, added = self.blend
        result: Floats = of_encoder * encoder + of_ngrams * self(pairs) + added
        return result
