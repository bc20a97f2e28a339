"""Text as said -> text as a recogniser might have heard it, by pinyin."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pypinyin import Style, lazy_pinyin
from wetext import Normalizer

_TO_DIGITS = Normalizer(lang="zh", operator="itn")
_MARKS = re.compile(r"[，。？！、；：…,.?!;:\s“”\"]+")
_CONFUSED_INITIALS = (("zh", "z"), ("ch", "c"), ("sh", "s"), ("n", "l"), ("h", "f"), ("r", "l"))
_CONFUSED_FINALS = (("ang", "an"), ("eng", "en"), ("ing", "in"))


class Misheard:
    """Draws homophones and near-homophones from a vocabulary, the common ones more often."""

    def __init__(self, characters: Sequence[str]) -> None:
        """`characters`: most frequent first."""
        self._same: dict[str, list[str]] = defaultdict(list)
        self._near: dict[str, list[str]] = defaultdict(list)
        self._all = list(characters[:2_000])
        for character in characters[:4_000]:
            sound = syllable(character)
            self._same[sound].append(character)
            self._near[coarse(sound)].append(character)

    def __call__(self, text: str, rate: float, chooser: random.Random) -> str:
        """About `rate` of the characters replaced, dropped or doubled up."""
        heard: list[str] = []
        for character in text:
            draw = chooser.random()
            if draw >= rate or not "一" <= character <= "鿿":
                heard.append(character)
            elif draw < 0.75 * rate:
                heard.append(self.like(character, chooser))
            elif draw < 0.9 * rate:
                continue
            else:
                heard += [character, chooser.choice(self._all)]
        return "".join(heard)

    def exactly(self, text: str, rate: float, chooser: random.Random) -> str:
        """Just `rate` of the Chinese characters wrong, in the same proportions: to measure with, not to train."""
        heard = list(text)
        places = [i for i, character in enumerate(text) if "一" <= character <= "鿿"]
        for place in chooser.sample(places, min(len(places), _rounded(rate * len(places), chooser))):
            draw = chooser.random()
            if draw < 0.75:
                heard[place] = self._unlike(text[place], chooser)
            else:
                heard[place] = "" if draw < 0.9 else text[place] + chooser.choice(self._all)
        return "".join(heard)

    def _unlike(self, character: str, chooser: random.Random) -> str:
        """Heard as another one, which for a character without homophones may be any."""
        for _ in range(10):
            if (other := self.like(character, chooser)) != character:
                return other
        return chooser.choice([other for other in self._all if other != character])

    def like(self, character: str, chooser: random.Random) -> str:
        sound = syllable(character)
        kind = chooser.random()
        found = self._same[sound] if kind < 0.7 else self._near[coarse(sound)] if kind < 0.9 else self._all
        if not found:
            return character
        return found[min(int(chooser.expovariate(1 / 4)), len(found) - 1)]


def frequent_characters(texts: Iterable[str]) -> list[str]:
    """Chinese characters, the most frequent first."""
    return [character for character, _ in Counter("".join(texts)).most_common() if "一" <= character <= "鿿"]


def _rounded(share: float, chooser: random.Random) -> int:
    """Up or down by chance, so that short texts get their share of errors too."""
    return int(share) + (chooser.random() < share % 1)


def syllable(character: str) -> str:
    """Toneless pinyin; other marks stand for themselves."""
    return lazy_pinyin(character, style=Style.NORMAL)[0]


def coarse(sound: str) -> str:
    """Pinyin without the distinctions that telephone and regional speech lose."""
    for long, short in _CONFUSED_INITIALS:
        if sound.startswith(long):
            sound = short + sound[len(long) :]
            break
    for long, short in _CONFUSED_FINALS:
        if sound.endswith(long):
            return sound[: -len(long)] + short
    return sound


def without_marks(text: str) -> str:
    return _MARKS.sub("", text)


@lru_cache(maxsize=4096)  # a turn is what was said before the next two
def in_digits(text: str) -> str:
    """As Whisper writes it: numbers, times and percentages in digits."""
    return str(_TO_DIGITS.normalize(text))
