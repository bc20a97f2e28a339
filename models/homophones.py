"""Characters as a recogniser spells them -> the homophones that make sense together, by character trigrams.

A small recogniser hears most syllables right and lacks the language to spell them. Only characters that sound alike
change places here, so what was heard stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from models.trigrams import Counts, Floats, Ints, Trigrams

START, END, MARK = "^$|"  # MARK stands for whatever is no Chinese character, however long


@dataclass(frozen=True, slots=True)
class Spelling:
    """How much the recogniser's own choice weighs against the trigrams'; chosen on sentences of dev."""

    heard: float = 0.6  # factor of the recogniser's log-probabilities
    other_character: float = 2.5  # less likely than all that the recogniser left over, for that is shared by many
    other_tone: float = 1.5  # and less likely still
    least_probability: float = 0.02
    certain: float = 0.95  # from there on nothing else is tried, to be quick
    beam: int = 15


@dataclass(frozen=True)
class Homophones:
    """Which characters sound alike, and how often they follow each other."""

    characters: Sequence[str]  # all that are known, START, END and MARK among them
    readings: Ints  # (readings, 3): place of a character, syllable, tone
    trigrams: Trigrams
    spelling: Spelling = Spelling()

    @classmethod
    def load(cls, file: Path) -> "Homophones":
        with file.open("rb") as content, np.load(content, allow_pickle=False) as saved:
            characters = saved["characters"].tolist()
            pairs, triples = (
                Counts(saved[f"{name}_steps"].cumsum(), saved[f"{name}_times"].astype(np.int64))
                for name in ("pairs", "triples")
            )
            return cls(characters, saved["readings"].astype(np.int64), Trigrams(len(characters), pairs, triples))

    def save(self, file: Path) -> None:
        pairs, triples = self.trigrams.pairs, self.trigrams.triples
        np.savez_compressed(
            file,
            characters=np.array(self.characters),
            readings=self.readings.astype(np.uint16),
            pairs_steps=np.diff(pairs.keys, prepend=0),
            pairs_times=pairs.times.astype(np.uint32),
            triples_steps=np.diff(triples.keys, prepend=0),
            triples_times=triples.times.astype(np.uint32),
        )

    def __call__(self, heard: Sequence[tuple[str, float]]) -> str:
        """As many characters as were `heard`, each with its probability."""
        start, mark = self._places[START], self._places[MARK]
        before, scores = np.array([[start, start]]), np.zeros(1)  # (beams, 2): the two characters before; (beams,)
        steps: list[tuple[list[int], list[str]]] = []  # of each character and beam: the beam before, the character
        for character, probability in heard:
            place = self._places.get(character)
            if place is None:
                after_mark = np.isin(before[:, 1:], [start, mark])
                before = np.where(after_mark, before, np.stack([before[:, 1], np.full(len(before), mark)], axis=1))
                steps.append((list(range(len(before))), [character] * len(before)))
                continue
            candidates, costs = self._candidates(place, probability)
            tried = (scores[:, None] - costs + self.trigrams(before, candidates)).ravel()
            best = np.argsort(-tried, kind="stable")
            beams, chosen = np.divmod(best, len(candidates))
            # Beams that end alike go on alike, so the best of them is enough.
            ends = before[beams, 1] * len(self.characters) + candidates[chosen]
            firsts = np.unique(ends, return_index=True)[1]
            kept = np.sort(firsts)[: self.spelling.beam]
            beams, chosen, scores = beams[kept], candidates[chosen[kept]], tried[best[kept]]
            before = np.stack([before[beams, 1], chosen], axis=1)
            steps.append((beams.tolist(), [self.characters[at] for at in chosen]))
        scores = scores + self.trigrams(before, np.array([self._places[END]]))[:, 0]
        beam, spelled = int(scores.argmax()), []
        for parents, chosen_characters in reversed(steps):
            spelled.append(chosen_characters[beam])
            beam = parents[beam]
        return "".join(reversed(spelled))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {character: place for place, character in enumerate(self.characters)}

    @cached_property
    def _alike(self) -> list[tuple[Ints, Ints]]:
        """Of each character: itself and those that share a syllable with it, and 1 where only in another tone."""
        alike: list[dict[int, bool]] = [{place: False} for place in range(len(self.characters))]
        by_syllable = self.readings[np.argsort(self.readings[:, 1], kind="stable")]
        bounds = np.flatnonzero(np.diff(by_syllable[:, 1], prepend=-1, append=-1)).tolist()
        for begin, end in pairwise(bounds):
            sharing = by_syllable[begin:end, [0, 2]].tolist()
            for place, tone in sharing:
                for other, its_tone in sharing:
                    alike[place][other] = alike[place].get(other, True) and tone != its_tone
        return [(np.array(list(others)), np.array(list(others.values()), np.int64)) for others in alike]

    def _candidates(self, place: int, probability: float) -> tuple[Ints, Floats]:
        """What may be meant, and what each costs; the recogniser's own choice first."""
        chosen = self.spelling
        if probability >= chosen.certain:
            return np.array([place]), np.zeros(1)
        candidates, in_other_tone = self._alike[place]
        sure = max(probability, chosen.least_probability)
        costs = chosen.other_character - np.log(1 - sure) + chosen.other_tone * in_other_tone
        costs[0] = -np.log(sure)
        return candidates, chosen.heard * costs
