import pytest

from models.call import Evidence, Speaker, Utterance
from pipelines.conversation import manners, parts, together

COLLECTOR, BORROWER = Speaker.COLLECTOR, Speaker.BORROWER


def said(speaker: Speaker, start: float, end: float, text: str = "请您还款", level: float = -30.0) -> Utterance:
    evidence = Evidence(-0.1, 0.0, 1.0, 0.0, 1.0, level)
    return Utterance(int(speaker is BORROWER), speaker, start, end, text, text, 0.9, evidence)


def test_talk_and_silence_are_of_each_speaker() -> None:
    collector, borrower = parts([said(COLLECTOR, 0, 4), said(BORROWER, 5, 6), said(COLLECTOR, 7, 8)], 10.0)
    assert (collector.talk_s, collector.silent_s) == (5.0, 5.0)
    assert (borrower.talk_s, borrower.silent_s) == (1.0, 9.0)


def test_time_that_overlaps_counts_once() -> None:
    assert together([(0, 2), (1, 3), (5, 6), (5, 5.5)]) == 4.0


@pytest.mark.parametrize(("begins", "interruptions"), [(1.4, 1), (1.5, 0), (1.9, 0), (2.5, 0)])
def test_an_interruption_is_an_overlap_of_more_than_half_a_second(begins: float, interruptions: int) -> None:
    collector, borrower = parts([said(COLLECTOR, 0, 2), said(BORROWER, begins, begins + 3)], 10.0)
    assert (collector.interruptions, borrower.interruptions) == (0, interruptions)


def test_nobody_interrupts_themselves() -> None:
    (collector,) = parts([said(COLLECTOR, 0, 2), said(COLLECTOR, 1, 3)], 10.0)
    assert collector.interruptions == 0


def test_rate_is_in_characters_without_marks() -> None:
    (manner,) = manners([said(COLLECTOR, 0, 2, "您好，请还款。")])
    assert manner.characters_a_second == 2.5


def test_a_raised_voice_is_louder_than_the_speakers_own_median() -> None:
    usual = [said(COLLECTOR, at, at + 1, level=-30) for at in range(6)]
    loud, louder_line = said(COLLECTOR, 9, 10, level=-22), said(BORROWER, 11, 12, level=-10)
    raised = [manner.raised_voice for manner in manners([*usual, loud, louder_line])]
    assert raised == [False] * 6 + [True, False]


def test_too_few_utterances_have_no_usual_level() -> None:
    assert not any(m.raised_voice for m in manners([said(COLLECTOR, 0, 1, level=-60), said(COLLECTOR, 2, 3, level=-3)]))


def test_a_call_without_words_has_no_parts() -> None:
    assert parts([], 10.0) == []
