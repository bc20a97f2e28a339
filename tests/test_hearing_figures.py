from pathlib import Path

import numpy as np
import pytest

from models.call import Label, Speaker
from models.transcriber import Transcriber
from pipelines.report import Scores, UtterancePart
from pipelines.training.evaluate_speakers import compare, right_roles
from pipelines.training.evaluate_transcriber import (
    HUMAN,
    NEURAL,
    SYNTHETIC,
    Heard,
    Measuring,
    Spoken,
    figure,
    hear,
    measure,
    write_card,
)
from pipelines.training.speaker_calls import Turn
from tests.conftest import needs_debian

TRUTH = [(0.0, 2.0, 0), (2.5, 4.0, 1)]


def uttered(start: float, end: float, speaker: Speaker) -> UtterancePart:
    return UtterancePart(
        index=0, channel=0, speaker=speaker, start=start, end=end, text="喂", raw_text="喂", label=Label.COMPLIANT,
        labels=(), scores=Scores(threat=0, insult=0, third_party_contact=0), asr_confidence=1, needs_review=False,
    )  # fmt: skip


def test_the_rate_is_of_all_characters_and_lies_in_its_interval() -> None:
    heard = [Heard(f"s{n % 5}", errors=n % 3, length=10, misheard=n % 2) for n in range(50)]
    found = figure("synthetic", heard)
    assert found.rate == pytest.approx(sum(h.errors for h in heard) / 500)
    assert found.misheard == pytest.approx(25 / 500)
    assert found.low <= found.rate <= found.high
    assert (found.resampled, len(found.speakers)) == ("speakers", 5)


def test_two_speakers_are_too_few_to_draw_from() -> None:
    assert figure("human", [Heard("a", 1, 9), Heard("b", 2, 9), Heard("b", 0, 9)]).resampled == "sentences"


def test_what_is_not_heard_is_wrong_in_every_character() -> None:
    silence = Spoken("nobody", "您好，请还款。", np.zeros(16_000, np.float32))
    assert hear(Transcriber(), silence, 0.3) == Heard("nobody", 5, 5, misheard=5)


def test_each_set_is_measured_on_the_path_that_serves() -> None:
    needs_debian("espeak-ng")
    (found,) = measure(Transcriber(), [SYNTHETIC], measuring=Measuring(sentences=20, resamples=50))
    assert (found.name, found.sentences) == (SYNTHETIC, 20)
    assert 0 <= found.misheard < found.rate, "characters that sound alike are most of what the bundled one gets wrong"
    assert len(found.speakers) == 10


def test_missing_reference_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"sentences\.jsonl is missing: --reference"):
        list(measure(Transcriber(), [HUMAN], reference=tmp_path))


def test_a_wheel_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "voices.whl").write_text("no wheel")
    with pytest.raises(ValueError, match=r"voices\.whl is not ttskit"):
        list(measure(Transcriber(), [NEURAL], voices=tmp_path / "voices.whl"))


def test_a_card_keeps_its_words_and_gets_new_figures(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("# Mine\n\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n", "utf8")
    write_card([figure("synthetic", [Heard("a", 1, 10)] * 3)], card)
    text = card.read_text("utf8")
    assert text.startswith("# Mine")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| synthetic | 3 | 1 | 10.0% |" in text


def test_a_card_is_made_where_there_is_none(tmp_path: Path) -> None:
    write_card([figure("synthetic", [Heard("a", 1, 10)])], tmp_path / "README.md")
    assert "| synthetic | 1 |" in (tmp_path / "README.md").read_text("utf8")


@pytest.mark.parametrize(
    ("found", "rate"),
    [
        (TRUTH, 0.0),
        ([(0.0, 2.0, 1), (2.5, 4.0, 0)], 0.0),  # names of voices mean nothing
        ([(0.0, 2.0, 0)], 1.5 / 3.5),
        ([(0.0, 4.0, 0)], 2.0 / 3.5),
        ([], 1.0),
    ],
)
def test_diarization_error_counts_missed_false_and_confused_time(
    found: list[tuple[float, float, int]], rate: float
) -> None:
    assert compare(TRUTH, found, 5.0, collar_s=0.0).error_rate == pytest.approx(rate, abs=0.01)


def test_what_lies_close_to_a_change_counts_for_nothing() -> None:
    assert compare(TRUTH, [(0.2, 1.8, 0), (2.7, 4.2, 1)], 5.0, collar_s=0.25).error_rate == 0.0


def test_a_role_is_right_by_the_utterance_that_overlaps_most() -> None:
    turns = [Turn(0, 0.0, 2.0, "您好"), Turn(1, 2.5, 4.0, "喂"), Turn(1, 8.0, 9.0, "不在")]
    found = [uttered(0.1, 2.0, Speaker.COLLECTOR), uttered(2.4, 4.1, Speaker.UNKNOWN)]
    assert right_roles(turns, found) == (0.5, 0.5)
