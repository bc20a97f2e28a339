"""Text -> what the encoder would hear if somebody spoke it, spliced from syllables that it heard elsewhere.

A decoder that reads these learns which characters people write for what they say, from far more text than there is
speech of. The encoder stays as it is. Its states know their place in the window: each syllable is taken from where it
once sounded nearby, and what differs between the two places on average is made up for.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.training.recogniser import EOT, PROMPT, Batch, Recogniser, Spliced, Vocabulary
from pipelines.training.synthesis import HANZI, SYLLABLE, pinyin

_ROWS = 24  # of a batch
_OF_SPEECH = 4  # one batch in so many is heard: a decoder must not forget how real states are, nor to be silent
_PAUSE = 4  # positions (of 20 ms): less of a gap between two syllables is part of the first
_NEIGHBOURS = 8  # that sounded at nearly the same place, to choose from
_ROOM = 20  # positions that stay free at a window's end

_Key = tuple[int, int]  # syllable and tone
_LEAD, _BREAK, _TAIL = (-1, 0), (-1, 1), (-1, 2)
_States = NDArray[np.float16]  # (positions, d)


def spliced_batches(
    model: Recogniser,
    vocabulary: Vocabulary,
    windows: Iterator[Batch],
    texts: Sequence[str],
    *,
    chooser: random.Random,
    frames: int,
    count: int,
) -> Iterator[Batch | Spliced]:
    """For ever. `frames`: those of most of the windows; `count` of them are cut. Raises ValueError without texts."""
    if not texts:
        raise ValueError("there is no sentence to splice; name files of texts with --sentences")
    splices = Splices(vocabulary, frames // 2)
    while splices.windows < count:
        splices.cut(model, next(windows))
    splices.index()
    while True:
        yield next(windows)
        for _ in range(_OF_SPEECH - 1):
            yield _batch([splices.several(texts, chooser) for _ in range(_ROWS)])


def _batch(spoken: Sequence[tuple[_States, list[int], list[tuple[int, int]]]]) -> Spliced:
    longest = max(len(ids) for _, ids, _ in spoken)
    return Spliced(
        tokens=torch.tensor([[*PROMPT, *ids, EOT] + [-100] * (longest - len(ids)) for _, ids, _ in spoken]),
        silent=torch.zeros(len(spoken), dtype=torch.bool),
        sounding=torch.tensor([places + [(0, 0)] * (longest - len(places)) for _, _, places in spoken]),
        hidden=torch.from_numpy(np.stack([states for states, _, _ in spoken])).float(),
    )


@dataclass(slots=True)
class Splices:
    """Stretches of encoder states, by what sounds in them and where they were."""

    vocabulary: Vocabulary
    positions: int  # of a window
    windows: int = 0
    _found: dict[_Key, list[tuple[int, _States]]] = field(default_factory=lambda: defaultdict(list))
    _places: dict[_Key, NDArray[np.int64]] = field(default_factory=dict)
    _mean: NDArray[np.float32] = field(default_factory=lambda: np.zeros((1, 1), np.float32))  # (positions, d) of states

    def cut(self, model: Recogniser, batch: Batch) -> None:
        """Adds what sounds in windows of as many positions; others are left alone."""
        if batch.mel.shape[2] != 2 * self.positions:
            return
        self.windows += len(batch.mel)
        with torch.no_grad():
            hidden = model.encode(batch.mel).float().numpy()
        self._mean = self._mean + (hidden.mean(0) - self._mean) * len(hidden) / self.windows
        hidden = hidden.astype(np.float16)
        for row, (states, sounding) in enumerate(zip(hidden, batch.sounding.tolist(), strict=True)):
            spans = [(begin + 1 if begin else begin, end - 1) for begin, end in sounding if end]
            if not spans or spans[-1][1] >= len(states):
                continue
            self._add(_LEAD, 0, states[: spans[0][0]])
            for (begin, end), following in zip(spans, [*spans[1:], None], strict=True):
                key = int(batch.syllable[row, begin]), int(batch.tone[row, begin])
                if following is None:
                    self._add(key, begin, states[begin:end])
                    self._add(_TAIL, end, states[end:])
                elif following[0] - end < _PAUSE:
                    self._add(key, begin, states[begin : following[0]])
                else:
                    self._add(key, begin, states[begin:end])
                    self._add(_BREAK, end, states[end : following[0]])

    def index(self) -> None:
        """To be called once all is cut."""
        for key, found in self._found.items():
            found.sort(key=lambda one: one[0])
            self._places[key] = np.array([place for place, _ in found])

    def several(self, texts: Sequence[str], chooser: random.Random) -> tuple[_States, list[int], list[tuple[int, int]]]:
        """Some of the texts, one after another, as `speak` gives them."""
        while True:
            spoken = self.speak(chooser.sample(texts, min(len(texts), chooser.choice([1, 1, 2, 3]))), chooser)
            if spoken:
                return spoken

    def speak(
        self, texts: Sequence[str], chooser: random.Random
    ) -> tuple[_States, list[int], list[tuple[int, int]]] | None:
        """As many of the texts as fit in: states (positions, d), tokens, and where each sounds, (0, 0) where nothing.

        None if there is none, or a syllable was never heard.
        """
        stretches, ids, places = [self._take(_LEAD, 0, chooser)], list[int](), list[tuple[int, int]]()
        at = len(stretches[0])
        for number, text in enumerate(texts):
            keys = self._keys(("，" if number else "") + text)
            if keys is None or any(key is not None and key not in self._places for _, key in keys):
                return None
            part, place = [], at
            sounding = []
            for _, key in keys:
                stretch = self._take(key, place, chooser) if key else part[-1][:0]
                part.append(stretch)
                spoken = key is not None and key != _BREAK
                sounding.append((max(0, place - 1), place + len(stretch) + 1) if spoken else (0, 0))
                place += len(stretch)
            if place > self.positions - _ROOM:
                break
            at = place
            stretches += part
            for (character, _), span in list(zip(keys, sounding, strict=True))[1 if number else 0 :]:
                if character in self.vocabulary.character_id:
                    ids.append(self.vocabulary.character_id[character])
                    places.append(span)
        if not ids:
            return None
        states = np.concatenate([*stretches, self._take(_TAIL, at, chooser)])
        if len(states) < self.positions:
            states = np.concatenate([states, np.repeat(states[-1:], self.positions - len(states), axis=0)])
        return states[: self.positions], ids, places

    def _keys(self, text: str) -> list[tuple[str, _Key | None]] | None:
        """Characters with what sounds for them: nothing for the mark at the end. None if it cannot be read aloud."""
        syllables = [part for part in pinyin(text) if SYLLABLE.fullmatch(part)]
        if len(syllables) != len(HANZI.findall(text)):
            return None
        of_characters = iter(syllables)
        keys: list[tuple[str, _Key | None]] = []
        for place, character in enumerate(text):
            if HANZI.match(character):
                syllable = next(of_characters)
                keys.append((character, (self.vocabulary.syllable_id.get(syllable[:-1], 0), int(syllable[-1]))))
            else:
                keys.append((character, _BREAK if place + 1 < len(text) else None))
        return keys

    def _add(self, key: _Key, place: int, states: _States) -> None:
        if len(states) or key == _LEAD:
            self._found[key].append((place, states.copy()))

    def _take(self, key: _Key, place: int, chooser: random.Random) -> _States:
        near = int(np.searchsorted(self._places[key], place)) + chooser.randint(-_NEIGHBOURS, _NEIGHBOURS)
        found = self._found[key]
        sounded, states = found[max(0, min(near, len(found) - 1))]
        here, there = (np.minimum(begin + np.arange(len(states)), self.positions - 1) for begin in (place, sounded))
        moved: _States = (states + self._mean[here] - self._mean[there]).astype(np.float16)
        return moved
