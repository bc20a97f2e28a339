"""Two characters and one that may follow -> its log-probability, smoothed as Witten and Bell do (1991, method C)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class _Following(NamedTuple):
    """Of each context: how often anything followed it, and how many kinds."""

    times: Ints
    kinds: Ints


@dataclass(frozen=True)
class Counts:
    """How often each n-gram was seen. It is one number, of characters as digits in base `size`."""

    keys: Ints  # (n-grams,) ascending
    times: Ints  # (n-grams,)

    @classmethod
    def of(cls, counted: Mapping[int, int]) -> "Counts":
        keys = np.array(sorted(counted), np.int64)
        return cls(keys, np.array([counted[key] for key in keys.tolist()], np.int64))

    def places(self, keys: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Where the keys are, and whether they are there at all."""
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return at, self.keys[at] == keys

    def __getitem__(self, keys: Ints) -> Ints:
        at, there = self.places(keys)
        return np.where(there, self.times[at], 0)


@dataclass(frozen=True)
class Trigrams:
    size: int  # characters
    pairs: Counts
    triples: Counts  # may lack the rare ones

    def __call__(self, before: Ints, candidates: Ints) -> Floats:
        """(contexts, candidates). `before`: (contexts, 2) numbers of characters; `candidates`: (candidates,)."""
        newest, both = before[:, 1], before[:, 0] * self.size + before[:, 1]
        after_one = _Following(*(part[newest] for part in self._after_one))
        by_one = _smoothed(self.pairs[newest[:, None] * self.size + candidates], after_one, self._alone[candidates])
        at, there = self.pairs.places(both)
        after_two = _Following(*(np.where(there, part[at], 0) for part in self._after_two))
        return np.log(_smoothed(self.triples[both[:, None] * self.size + candidates], after_two, by_one))

    @cached_property
    def _alone(self) -> Floats:
        """(size,): probability of each character whatever is before it."""
        times = np.bincount(self.pairs.keys % self.size, self.pairs.times, self.size)
        kinds = np.count_nonzero(times)
        alone: Floats = (times + kinds / self.size) / (times.sum() + kinds)
        return alone

    @cached_property
    def _after_one(self) -> _Following:
        return _following(self.pairs.keys // self.size, self.pairs.times, self.size)

    @cached_property
    def _after_two(self) -> _Following:
        """In the order of the pairs."""
        at, there = self.pairs.places(self.triples.keys // self.size)
        return _following(at[there], self.triples.times[there], len(self.pairs.keys))


def _smoothed(seen: Ints, after: _Following, shorter: Floats) -> Floats:
    """(contexts, candidates). `seen`: how often, likewise; `shorter`: the probabilities after a shorter context."""
    times, kinds = after.times[:, None], after.kinds[:, None]
    return np.where(times > 0, (seen + kinds * shorter) / np.maximum(times + kinds, 1), shorter)


def _following(contexts: Ints, times: Ints, size: int) -> _Following:
    return _Following(np.bincount(contexts, times, size).astype(np.int64), np.bincount(contexts, minlength=size))
