import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.vad import get_speech_timestamps
from rapidfuzz.distance import Levenshtein

from models.call import SAMPLE_RATE, Channel
from models.errors import ModelNotFound
from models.transcriber import Decoding, Transcriber
from models.weights import BUNDLED
from pipelines.characters import characters, repetition
from pipelines.decode import decode
from pipelines.training.in_memory import InMemory

CALL = Path(__file__).parent / "data" / "calls" / "lawful-reminder.mp3"


def test_batched_and_sequential_decoding_agree() -> None:
    batched = Transcriber(decoding=Decoding(batched=True))
    sequential = Transcriber(decoding=Decoding(batched=False))
    with decode(CALL) as recording:
        for channel in recording.channels:
            together, alone = ("".join(s.text for s in model(channel)) for model in (batched, sequential))
            # int8 rounds otherwise in a batch, and after a doubtful end marks may follow: words agree, not all marks.
            assert Levenshtein.normalized_similarity(characters(together), characters(alone)) > 0.9


def test_segments_lie_in_order_within_the_recording_and_words_within_segments() -> None:
    with decode(CALL) as recording:
        segments = list(Transcriber()(recording.channels[0]))
        assert segments
        for before, after in pairwise(segments):
            assert before.end <= after.start + 0.01
        for segment in segments:
            assert 0 <= segment.start <= segment.end <= recording.duration
            assert all(segment.start <= word.start <= word.end <= segment.end + 0.01 for word in segment.words)


@pytest.mark.parametrize("level", [0.0, 0.001, 0.1])
def test_silence_and_noise_have_no_words(level: float) -> None:
    noise = np.random.default_rng(0).standard_normal(20 * SAMPLE_RATE).astype(np.float32) * level
    assert list(Transcriber()(Channel(0, InMemory(noise)))) == []


def test_a_loop_is_decoded_once_more_and_stays_in_evidence(tmp_path: Path) -> None:
    """The bundled recogniser loops only where its card does not forbid it."""
    folder = Path(shutil.copytree(BUNDLED / "transcriber", tmp_path / "transcriber"))
    card = json.loads((folder / "card.json").read_text("utf8"))
    (folder / "card.json").write_text(json.dumps({k: v for k, v in card.items() if k != "no_repeat_ngram"}), "utf8")
    looping, once_more = Transcriber(str(folder), decoding=Decoding(loop_above=1000)), Transcriber(str(folder))
    repeats: list[tuple[float, float]] = []
    with decode(CALL) as recording:
        for at in range(3, 30, 3):
            word = recording.channels[0].samples.read(at * SAMPLE_RATE, round((at + 0.3) * SAMPLE_RATE))
            stutter = Channel(0, InMemory(np.tile(word, 15)))
            looped, heard = next(looping(stutter), None), next(once_more(stutter), None)
            if looped and heard and looped.compression_ratio > 2.4:
                assert heard.compression_ratio == looped.compression_ratio
                repeats.append((repetition(looped.text), repetition(heard.text)))
    assert any(after < 0.5 < before for before, after in repeats)


def test_spelling_changes_characters_and_nothing_else(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED / "transcriber", tmp_path / "transcriber"))
    (folder / "homophones.npz").unlink()
    with decode(CALL) as recording:
        spelled, as_decoded = (
            [word for segment in model(recording.channels[0]) for word in segment.words]
            for model in (Transcriber(), Transcriber(str(folder)))
        )
    assert [replace(word, text="") for word in spelled] == [replace(word, text="") for word in as_decoded]
    assert [len(word.text) for word in spelled] == [len(word.text) for word in as_decoded]
    assert [word.text for word in spelled] != [word.text for word in as_decoded]


def test_a_broken_file_of_homophones_is_told(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED / "transcriber", tmp_path / "transcriber"))
    whole = (folder / "homophones.npz").read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"PK but no archive"):
        (folder / "homophones.npz").write_bytes(broken)
        with pytest.raises(ModelNotFound, match="cannot be loaded"):
            Transcriber(str(folder))


def test_a_missing_folder_names_the_setting() -> None:
    with pytest.raises(ModelNotFound, match="CALLAUDIT_ASR_MODEL=/nowhere"):
        Transcriber("/nowhere")


def test_a_folder_without_its_tokenizer_is_refused_and_told_how_to_get_it(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED / "transcriber", tmp_path / "transcriber"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelNotFound, match=r"lacks tokenizer\.json .*--copy_files tokenizer\.json"):
        Transcriber(str(folder))


def test_a_model_of_other_mels_than_it_would_be_given_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED / "transcriber", tmp_path / "transcriber"))
    (folder / "preprocessor_config.json").unlink()
    assert Transcriber(str(folder)).again([np.zeros(SAMPLE_RATE, np.float32)])
    (folder / "preprocessor_config.json").write_text('{"feature_size": 128}')
    with pytest.raises(ModelNotFound, match=r"takes 80 mels.* gives 128 .*--copy_files .*preprocessor_config\.json"):
        Transcriber(str(folder))


def test_voices_keep_their_bounds_within_their_padded_segments() -> None:
    with decode(CALL) as recording:
        segments = list(Transcriber()(recording.channels[0]))
    voices = [segment.voice for segment in segments if segment.voice]
    assert len(voices) == len(segments)
    assert all(first < last for first, last in voices)
    assert all(before[1] <= after[0] for before, after in pairwise(voices))


def test_sounds_decoded_again_have_one_text_each() -> None:
    with decode(CALL) as recording:
        speech = recording.channels[0].samples.read(0, 8 * SAMPLE_RATE)
    silence = np.zeros(SAMPLE_RATE, np.float32)
    first, _, second = Transcriber().again([speech, silence, speech])
    assert first == second
    assert Transcriber().again([]) == []


@pytest.mark.parametrize("call", ["contact-list-calls.ogg", "instalment-plan.wav"])
def test_sound_that_fills_a_window_and_ends_within_a_word_has_no_more_words_than_were_said(call: str) -> None:
    transcriber = Transcriber()
    with decode(CALL.with_name(call)) as recording:
        samples = recording.channels[0].samples
        sound = samples.read(0, len(samples))
    spoken = np.concatenate([sound[part["start"] : part["end"]] for part in get_speech_timestamps(sound)])
    length = round(transcriber.window_s * SAMPLE_RATE)
    texts = transcriber.again([spoken[at : at + length] for at in range(0, spoken.size - length, length)])
    assert texts
    assert all(len(characters(text)) < 8 * transcriber.window_s for text in texts)
