"""Texts -> how little they repeat each other, by character n-grams and without punctuation."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_LETTERS = re.compile(r"\w")


class Texts:
    """Texts met so far, looked up by likeness."""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._holders: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, text: str) -> None:
        grams = _set_of_4grams(text)
        for gram in grams:
            self._holders[gram].append(len(self._sizes))
        self._sizes.append(len(grams))

    def nearest(self, text: str) -> float:
        """Jaccard of 4-grams with the likest text met, 0 when none shares any."""
        grams = _set_of_4grams(text)
        shared = Counter(holder for gram in grams for holder in self._holders.get(gram, ()))
        return max((n / (len(grams) + self._sizes[holder] - n) for holder, n in shared.items()), default=0.0)


def near_duplicates(texts: Sequence[str], alike_from: float = 0.8) -> float:
    """Share of the texts that are like one before them."""
    met = Texts()
    alike = 0
    for text in texts:
        alike += met.nearest(text) >= alike_from
        met.add(text)
    return alike / len(texts)


def distinct_ngrams(texts: Sequence[str], n: int = 4) -> float:
    counts = Counter(gram for text in texts for gram in _ngrams(_letters(text), n))
    return len(counts) / max(1, counts.total())


def self_bleu(texts: Sequence[str], longest: int = 4) -> float:
    """Mean BLEU of each text against all others: 1 when all say the same, 0 when none shares a character."""
    spoken = [_letters(text) for text in texts]
    counts = [[Counter(_ngrams(text, n)) for n in range(1, longest + 1)] for text in spoken]
    # The most often that any text holds an n-gram, with its holder, and the most often that any other does.
    most: list[dict[str, tuple[int, int, int]]] = [{} for _ in range(longest)]
    for index, orders in enumerate(counts):
        for order, grams in enumerate(orders):
            for gram, times in grams.items():
                best, holder, second = most[order].get(gram, (0, -1, 0))
                if times > best:
                    most[order][gram] = (times, index, best)
                elif times > second:
                    most[order][gram] = (best, holder, times)
    scores = []
    for index, orders in enumerate(counts):
        logs = 0.0
        for order, grams in enumerate(orders):
            clipped = 0
            for gram, times in grams.items():
                best, holder, second = most[order][gram]
                clipped += min(times, second if holder == index else best)
            # Chen and Cherry 2014, smoothing 1: a short text without a shared 4-gram is not wholly unlike.
            logs += math.log(max(clipped, 0.1) / max(1, grams.total()))
        length = len(spoken[index])
        nearest = min((len(other) for i, other in enumerate(spoken) if i != index), key=lambda n: abs(n - length))
        scores.append(math.exp(logs / longest + min(0.0, 1 - nearest / max(1, length))))
    return sum(scores) / len(scores)


def _letters(text: str) -> str:
    return "".join(_LETTERS.findall(text))


def _ngrams(text: str, n: int) -> list[str]:
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def _set_of_4grams(text: str) -> set[str]:
    letters = _letters(text)
    return set(_ngrams(letters, 4)) or {letters}
