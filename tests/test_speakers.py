import json
import sys
from pathlib import Path

import numpy as np
import pytest

from models.call import SAMPLE_RATE, Channel, Segment, Speaker, Utterance, Word
from models.errors import ModelNotFound
from models.pyannote import voices, weights_of
from models.speakers import WIDTH, Embeddings, Voiced, mel_power, two_means
from pipelines.decode import decode
from pipelines.score import EngineOptions, load_engine
from pipelines.training.in_memory import InMemory
from pipelines.utterances import assign_speakers
from pipelines.voices import cut_by_voice
from tests.conftest import CALLS

TWO_VOICES = CALLS / "fake-police.mp3"


@pytest.fixture(scope="module")
def embeddings() -> Embeddings:
    return Embeddings(threads=2)


def segment(text: str, start: float = 0.0, each_s: float = 0.2) -> Segment:
    words = tuple(
        Word(start + each_s * place, start + each_s * (place + 1), character, 0.9)
        for place, character in enumerate(text)
    )
    return Segment(start, words[-1].end, words, -0.1, 0.0, 1.0, (start, words[-1].end))


def spoken(text: str, voice_log_odds: float | None) -> Utterance:
    return Utterance(0, Speaker.UNKNOWN, 0.0, 1.0, text, text, 0.9, None, voice_log_odds)


def test_two_means_finds_two_bundles_of_vectors_whatever_their_order() -> None:
    random = np.random.default_rng(0)
    centres = np.eye(8, dtype=np.float32)[:2]
    owners = random.permutation([0] * 30 + [1] * 10)
    vectors = centres[owners] + 0.1 * random.standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    means = two_means(vectors, np.ones(40, np.float32))
    found = vectors @ (means[1] - means[0]) > 0
    assert np.array_equal(found, owners == 1) or np.array_equal(found, owners == 0)


def test_mel_power_is_highest_where_the_tone_is() -> None:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    low, high = (mel_power(np.sin(2 * np.pi * hertz * time).astype(np.float32)) for hertz in (200, 3000))
    assert low.shape == (101, 40)
    assert low.mean(axis=0).argmax() < high.mean(axis=0).argmax()


def test_an_embedding_is_a_unit_vector_and_like_itself_whatever_is_decoded_beside_it(embeddings: Embeddings) -> None:
    with decode(TWO_VOICES) as recording:
        channel = recording.channels[0]
        both = embeddings.embed(channel, [(0.5, 2.1), (4.0, 5.6)])
        alone = embeddings.embed(channel, [(0.5, 2.1)])
    assert both.shape == (2, WIDTH)
    assert np.linalg.norm(both, axis=1) == pytest.approx([1.0, 1.0], abs=1e-4)
    assert float(both[0] @ alone[0]) > 0.99


def test_the_voices_of_a_call_on_one_channel_are_told_apart(embeddings: Embeddings) -> None:
    truth = json.loads(TWO_VOICES.with_suffix(".json").read_text("utf8"))["utterances"]
    with decode(TWO_VOICES) as recording:
        voiced = embeddings(recording.channels[0], [(u["start"], u["end"]) for u in truth])
    sides = []
    for turn in truth:
        odds = sum(v.log_odds for v in voiced if turn["start"] <= (v.start + v.end) / 2 <= turn["end"])
        sides.append((odds > 0) == (turn["speaker"] == "collector"))
    assert sum(sides) in (0, len(sides))


def test_one_voice_is_not_torn_in_two(embeddings: Embeddings) -> None:
    truth = json.loads(TWO_VOICES.with_suffix(".json").read_text("utf8"))["utterances"]
    alone = [(u["start"], u["end"]) for u in truth if u["speaker"] == "collector"]
    with decode(TWO_VOICES) as recording:
        assert embeddings(recording.channels[0], alone) == []


def test_silence_has_no_voices(embeddings: Embeddings) -> None:
    silent = Channel(0, InMemory(np.zeros(SAMPLE_RATE * 5, np.float32)))
    assert embeddings(silent, []) == []


def test_a_segment_is_cut_where_the_voice_changes() -> None:
    said = segment("您好请问是谁？我是他妈妈。")
    voiced = [Voiced(0.0, 1.4, -6.0), Voiced(1.4, 2.6, 6.0)]
    parts = list(cut_by_voice([said], voiced))
    assert [part.text for part, _ in parts] == ["您好请问是谁？", "我是他妈妈。"]
    assert [odds > 0 for _, odds in parts] == [False, True]
    assert parts[0][0].end <= parts[1][0].start + 1e-6


def test_a_moment_of_doubt_cuts_no_segment() -> None:
    said = segment("您好请问是不是本人")
    voiced = [Voiced(0.0, 0.8, -6.0), Voiced(0.8, 1.0, 2.0), Voiced(1.0, 1.8, -6.0)]
    ((part, odds),) = cut_by_voice([said], voiced)
    assert part is said
    assert odds < 0


def test_no_word_is_lost_by_cutting() -> None:
    said = [segment("一二三四五六七八九十" * 3, start) for start in (0.0, 10.0, 20.0)]
    random = np.random.default_rng(1)
    voiced = [Voiced(0.8 * at, 0.8 * at + 0.8, float(odds)) for at, odds in enumerate(random.normal(0, 9, 40))]
    parts = [part for part, _ in cut_by_voice(said, voiced)]
    assert [word for part in parts for word in part.words] == [word for whole in said for word in whole.words]


def test_a_short_turn_has_little_weight() -> None:
    ((_, short),) = cut_by_voice([segment("喂")], [Voiced(0.0, 1.6, 6.0)])
    ((_, long),) = cut_by_voice([segment("喂您好请问是谁")], [Voiced(0.0, 1.6, 6.0)])
    assert 0 < short < 1 < long


def test_the_collector_is_whose_voice_sounds_like_one() -> None:
    said = [spoken("您逾期了", -5.0), spoken("我没钱", 5.0)]
    collector, borrower = assign_speakers(said, [0.95, 0.05], channels=1)
    assert (collector.speaker, borrower.speaker) == (Speaker.COLLECTOR, Speaker.BORROWER)
    assert collector.speaker_confidence
    assert 0.8 < collector.speaker_confidence <= 1


def test_a_doubtful_voice_stays_unknown_in_a_call_whose_roles_are_known() -> None:
    said = [spoken("您逾期了", -5.0), spoken("我没钱", 5.0), spoken("嗯", 0.1)]
    doubtful = assign_speakers(said, [0.95, 0.05, 0.5], channels=1)[2]
    assert (doubtful.speaker, doubtful.speaker_confidence) == (Speaker.UNKNOWN, None)


def test_voices_that_say_alike_stay_unknown() -> None:
    said = [spoken("喂", -5.0), spoken("喂", 5.0)]
    assert {u.speaker for u in assign_speakers(said, [0.5, 0.5], channels=1)} == {Speaker.UNKNOWN}


def test_voices_of_pyannote_lie_within_the_speech_and_are_two() -> None:
    turns = [(0.0, 3.0, "B"), (2.5, 5.0, "A"), (7.0, 9.0, "C")]
    assert voices(turns, [(0.5, 2.0), (2.2, 4.0)]) == [
        Voiced(0.5, 2.0, 4.0),
        Voiced(2.2, 3.0, 4.0),
        Voiced(2.5, 4.0, -4.0),
    ]
    assert voices(turns, [(0.5, 2.0)]) == []


def test_a_folder_of_pyannote_is_known_by_its_files(tmp_path: Path) -> None:
    part = tmp_path / "segmentation" / "pytorch_model.bin"
    part.parent.mkdir()
    part.write_bytes(b"1")
    before = weights_of(str(tmp_path)).sha256
    part.write_bytes(b"2")
    assert weights_of(str(tmp_path)).sha256 != before
    part.write_bytes(b"1")
    assert weights_of(str(tmp_path)).sha256 == before


@pytest.mark.skipif("pyannote" in sys.modules, reason="pyannote is installed")
def test_a_missing_pyannote_says_what_to_install() -> None:
    with pytest.raises(ModelNotFound, match=r"CALLAUDIT_SPEAKERS=pyannote.*pip install 'callaudit\[pyannote\]'"):
        load_engine(EngineOptions(speakers="pyannote"))


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ModelNotFound, match="CALLAUDIT_SPEAKERS=magic"):
        load_engine(EngineOptions(speakers="magic"))
