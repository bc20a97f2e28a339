from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.call import SAMPLE_RATE, Channel, Evidence, Speaker, Utterance
from models.transcriber import Transcriber
from pipelines.characters import characters, repetition
from pipelines.decode import decode
from pipelines.hearing import (
    QUIETEST_DBFS,
    agreement,
    decode_again,
    doubts,
    invented,
    level_dbfs,
    measure_levels,
    suppress,
)
from pipelines.training.in_memory import InMemory
from pipelines.utterances import split

CALL = Path(__file__).parent / "data" / "calls" / "lawful-reminder.mp3"
CLEAR = Evidence(
    mean_log_probability=-0.1,
    no_speech_probability=0.0,
    compression_ratio=1.0,
    repetition=0.0,
    voice_overlap=1.0,
    level_dbfs=-20.0,
)


def said(text: str, evidence: Evidence | None = CLEAR, confidence: float = 0.9) -> Utterance:
    return Utterance(0, Speaker.COLLECTOR, 1.0, 2.0, text, text, confidence, evidence)


@pytest.mark.parametrize(
    "text",
    ["請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目", "字幕由Amara.org社区提供", "字幕由 amara.org 社區提供。"],
)
@pytest.mark.parametrize(
    "weak",
    [{"voice_overlap": 0.2}, {"level_dbfs": -45.0}, {"no_speech_probability": 0.5}, {"mean_log_probability": -1.2}],
)
def test_boilerplate_on_weak_sound_is_suppressed_with_its_reason(text: str, weak: dict[str, float]) -> None:
    kept, suppressed = suppress([said(text, replace(CLEAR, **weak))])
    assert not kept
    assert "a phrase that recognisers invent" in suppressed[0].reason


def test_boilerplate_that_was_clearly_said_is_kept() -> None:
    kept, suppressed = suppress([said("字幕由Amara.org社区提供")])
    assert (len(kept), suppressed) == (1, [])


def test_weak_sound_alone_suppresses_nothing() -> None:
    kept, suppressed = suppress([said("再不还钱就上你家", replace(CLEAR, level_dbfs=-70.0, voice_overlap=0.0))])
    assert (len(kept), suppressed) == (1, [])


@pytest.mark.parametrize(
    ("weak", "reason"),
    [
        ({"mean_log_probability": -1.5}, "not heard clearly"),
        ({"no_speech_probability": 0.9}, "doubts that anybody speaks"),
        ({"voice_overlap": 0.1}, "no voice is heard"),
        ({"level_dbfs": -63.0}, "very quiet (-63 dBFS)"),
        ({"repetition": 0.8}, "repeats itself"),
        ({"compression_ratio": 3.0}, "repeats itself"),
        ({"agreement": 0.25}, "agreement 25%"),
    ],
)
def test_each_weakness_is_told_in_plain_words(weak: dict[str, float], reason: str) -> None:
    (told,) = doubts(said("打断你的腿", replace(CLEAR, **weak)))
    assert reason in told


def test_words_for_which_neither_decode_speaks_are_taken_for_invented() -> None:
    reason = invented(said("打断你的腿", replace(CLEAR, agreement=0.1, mean_log_probability=-1.4)))
    assert reason == "decoded again, other words were heard (agreement 10%), and the words were not heard clearly"


@pytest.mark.parametrize(
    "spoken_for",
    [
        {"agreement": 0.9, "mean_log_probability": -1.4},
        {"agreement": 0.0, "mean_log_probability": -0.4},
        {"agreement": None, "mean_log_probability": -1.4},
    ],
)
def test_words_for_which_one_decode_speaks_are_for_a_person_to_hear(spoken_for: dict[str, float | None]) -> None:
    utterance = said("打断你的腿", replace(CLEAR, **spoken_for))
    assert invented(utterance) is None
    assert list(doubts(utterance))


def test_what_was_heard_well_is_not_doubted() -> None:
    assert list(doubts(said("打断你的腿", replace(CLEAR, agreement=1.0)))) == []


def test_agreement_is_of_each_text_with_its_own_part_of_the_second() -> None:
    assert agreement(["打断你的腿", "好的"], "打断你的腿好的") == [1.0, 1.0]
    assert agreement(["打断你的腿", "好的"], "大断你的腿") == [0.8, 0.0]
    assert agreement(["打断你的腿"], "") == [0.0]
    assert agreement(["好"], "好好好好好") == [0.0]


def test_characters_are_simplified_without_marks() -> None:
    assert characters("還款，１００元！ Amara.org") == "还款一百元amaraorg"


def test_repetition_rises_with_loops_only() -> None:
    assert repetition("谢谢谢谢谢谢谢谢谢谢") > 0.7
    assert repetition("您好，请问是林志伟先生吗？") == 0.0
    assert repetition("喂") == 0.0


def test_level_is_in_dbfs() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    assert level_dbfs(tone) == pytest.approx(-3.0, abs=0.02)
    assert level_dbfs(tone / 10) == pytest.approx(-23.0, abs=0.02)
    assert level_dbfs(np.zeros(100, np.float32)) == QUIETEST_DBFS


def test_a_level_is_measured_where_the_utterance_is() -> None:
    sound = np.zeros(3 * SAMPLE_RATE, np.float32)
    sound[SAMPLE_RATE : 2 * SAMPLE_RATE] = 0.1
    (measured,) = measure_levels([said("喂")], [Channel(0, InMemory(sound))])
    assert measured.evidence
    assert measured.evidence.level_dbfs == pytest.approx(-20.0, abs=0.01)


def test_a_second_decode_gives_every_utterance_an_agreement_and_changes_nothing_else() -> None:
    transcriber = Transcriber()
    with decode(CALL) as recording:
        heard = list(split(transcriber(recording.channels[0]), 0))[:6]
        checked = decode_again(heard, recording.channels, transcriber.again)
    assert [(u.start, u.text) for u in checked] == [(u.start, u.text) for u in heard]
    assert all(u.evidence and u.evidence.agreement is not None and 0 <= u.evidence.agreement <= 1 for u in checked)


def test_words_that_are_not_in_the_sound_do_not_agree() -> None:
    silence = Channel(0, InMemory(np.zeros(3 * SAMPLE_RATE, np.float32)))
    (checked,) = decode_again([said("打断你的腿")], [silence], Transcriber().again)
    assert checked.evidence
    assert checked.evidence.agreement == 0.0


@pytest.mark.parametrize(
    ("written", "spoken"),
    [("您欠3,000塊。", "您欠三千块"), ("電話13800138000", "电话一三八零零一三八零零零"), ("到60%了", "到百分之六十了")],
)
def test_digits_are_compared_as_they_are_spoken(written: str, spoken: str) -> None:
    assert characters(written) == characters(spoken)
    assert agreement([characters(written)], characters(spoken)) == [1.0]
