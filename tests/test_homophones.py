"""Spelling among characters that sound alike."""

from pathlib import Path

import numpy as np
import pytest
from pypinyin import Style, pinyin

from models.homophones import Homophones
from models.trigrams import Counts, Trigrams
from models.weights import BUNDLED
from pipelines.training.homophones import homophones

TEXTS = [
    ("您的征信记录会受影响，请尽快还款", 30),
    ("我们会依法向法院起诉", 30),
    ("汽油起火了，气势很足", 2),
    ("他正新买了一辆车", 2),
    ("全家福", 2),
    ("你们四个人", 1),
]


@pytest.fixture(scope="module")
def small() -> Homophones:
    return homophones(TEXTS)


@pytest.fixture(scope="module")
def bundled() -> Homophones:
    return Homophones.load(BUNDLED / "transcriber" / "homophones.npz")


def heard(text: str, probability: float = 0.5) -> list[tuple[str, float]]:
    return [(character, probability) for character in text]


def test_what_makes_sense_together_is_spelled(small: Homophones) -> None:
    assert small(heard("您的正新记录", 0.3)) == "您的征信记录"
    assert small(heard("依法向法院汽诉", 0.3)) == "依法向法院起诉"


def test_a_character_that_was_recognised_for_certain_stays(small: Homophones) -> None:
    assert small([("正", 0.99), ("新", 0.99), *heard("记录")]) == "正新记录"


def test_other_characters_stay_where_they_are(small: Homophones) -> None:
    assert small(heard("您的正新记录，OK 3。龘", 0.3)) == "您的征信记录，OK 3。龘"
    assert small(heard("，。")) == "，。"
    assert small([]) == ""


@pytest.mark.parametrize("text", ["今天下午三点钱必须还钱", "你爸妈知不知道你在外面欠这么多", "四全家", "工号零三幺七"])
def test_only_characters_that_sound_alike_change_places(bundled: Homophones, text: str) -> None:
    spelled = bundled(heard(text, 0.3))
    assert len(spelled) == len(text)
    for was, now in zip(text, spelled, strict=True):
        assert syllables(was) & syllables(now), f"{was} became {now}"


def syllables(character: str) -> set[str]:
    return set(pinyin(character, style=Style.NORMAL, heteronym=True)[0])


def test_a_saved_one_spells_as_before(small: Homophones, tmp_path: Path) -> None:
    small.save(tmp_path / "homophones.npz")
    loaded = Homophones.load(tmp_path / "homophones.npz")
    assert loaded(heard("您的正新记录", 0.3)) == small(heard("您的正新记录", 0.3)) == "您的征信记录"
    assert list(loaded.characters) == list(small.characters)


def test_what_may_follow_adds_up_to_one(bundled: Homophones) -> None:
    size = len(bundled.characters)
    before = np.array([[0, 0], [5, 2000], [1234, 77]])
    sums = np.exp(bundled.trigrams(before, np.arange(size))).sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-9)


def test_trigrams_of_two_characters_are_as_computed_by_hand() -> None:
    # a b a b b, seen as ab, ba, ab, bb and aba, bab, abb
    pairs, triples = Counts.of({0 * 2 + 1: 2, 1 * 2 + 0: 1, 3: 1}), Counts.of({2: 1, 5: 1, 3: 1})
    alone = np.array([(1 + 2 / 2) / 6, (3 + 2 / 2) / 6])  # two kinds among four second characters
    after_b = (np.array([1, 1]) + 2 * alone) / 4
    after_ab = (np.array([1, 1]) + 2 * after_b) / 4
    np.testing.assert_allclose(np.exp(Trigrams(2, pairs, triples)(np.array([[0, 1]]), np.arange(2)))[0], after_ab)
