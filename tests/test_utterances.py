from models.call import Segment, Speaker, Word
from pipelines.utterances import assign_speakers, split


def segment(text: str, start: float = 0.0, pause_after: int | None = None) -> Segment:
    words = []
    for place, character in enumerate(text):
        late = 2.0 if pause_after is not None and place > pause_after else 0.0
        words.append(Word(start + 0.2 * place + late, start + 0.2 * place + 0.2 + late, character, 0.5))
    return Segment(words[0].start, words[-1].end, tuple(words), -0.1, 0.0)


def test_a_sentence_end_ends_an_utterance() -> None:
    assert [u.text for u in split([segment("您好请问是谁？我是他妈妈。")], 0)] == ["您好请问是谁？", "我是他妈妈。"]


def test_a_pause_ends_an_utterance_and_keeps_its_times() -> None:
    first, second = split([segment("你好再见", pause_after=1)], 0)
    assert (first.text, second.text) == ("你好", "再见")
    assert (first.end, second.start) == (0.4, 2.4)


def test_a_short_sentence_after_a_pause_stays_with_what_follows() -> None:
    words = (Word(0.0, 2.0, "您欠款已经逾期了", 0.9), Word(4.0, 4.4, "喂？", 0.9), Word(4.4, 4.8, "请说", 0.9))
    said = [u.text for u in split([Segment(0.0, 4.8, words, -0.1, 0.0)], 0)]
    assert said == ["您欠款已经逾期了", "喂？请说"]


def test_no_utterance_is_longer_than_eighty_characters() -> None:
    pieces = list(split([segment("还款" * 120)], 0))
    assert "".join(u.text for u in pieces) == "还款" * 120
    assert max(len(u.text) for u in pieces) <= 80


def test_marks_alone_are_no_utterance() -> None:
    assert list(split([segment("。，")], 0)) == []


def test_text_is_simplified_and_the_raw_text_is_kept() -> None:
    (said,) = split([segment("還錢")], 1)
    assert (said.text, said.raw_text, said.channel, said.confidence) == ("还钱", "還錢", 1, 0.5)


def test_the_collector_is_whose_channel_sounds_like_one() -> None:
    said = [*split([segment("您逾期了")], 0), *split([segment("我没钱")], 1)]
    speakers = [u.speaker for u in assign_speakers(said, [0.1, 0.9], channels=2)]
    assert speakers == [Speaker.BORROWER, Speaker.COLLECTOR]


def test_channels_that_sound_alike_stay_unknown() -> None:
    said = [*split([segment("喂")], 0), *split([segment("喂")], 1)]
    assert {u.speaker for u in assign_speakers(said, [0.5, 0.5], channels=2)} == {Speaker.UNKNOWN}


def test_metadata_decides_over_what_is_said() -> None:
    said = list(split([segment("您逾期了")], 0))
    (only,) = assign_speakers(said, [0.99], channels=2, collector_channel=1)
    assert only.speaker is Speaker.BORROWER


def test_a_mono_call_has_no_known_speaker_even_with_metadata() -> None:
    said = list(split([segment("您逾期了")], 0))
    (only,) = assign_speakers(said, [0.99], channels=1, collector_channel=0)
    assert only.speaker is Speaker.UNKNOWN
