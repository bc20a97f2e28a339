import numpy as np
import pytest

from models.call import Recording
from pipelines.report import RecordingPart, Report, summarise
from pipelines.training.babble import Babble
from pipelines.training.invention import BABBLE, Invented, Listening, listen, rates
from pipelines.training.nonspeech import SOUNDS
from tests.conftest import needs_debian


def silent(recording: Recording) -> Report:
    """A journey in which nothing is heard."""
    part = RecordingPart(sha256=recording.sha256, duration=recording.duration, channels=1, codec=recording.codec)
    return Report(recording=part, models=(), utterances=(), summary=summarise(()))


def test_every_sound_is_heard_at_every_level_until_the_hours_are_full() -> None:
    listening = Listening(hours=len(SOUNDS) * 2 * 2 / 3600, stretch_s=2.0, levels_dbfs=(-30.0, -3.0))
    found = list(listen(silent, listening))
    assert {(part.sound, part.level_dbfs) for part in found} == {(s, level) for s in SOUNDS for level in (-30.0, -3.0)}
    assert sum(part.seconds for part in found) == pytest.approx(listening.hours * 3600)


def test_sounds_have_the_peak_that_they_are_said_to_have() -> None:
    peaks = []

    def hear(recording: Recording) -> Report:
        samples = recording.channels[0].samples
        peaks.append(float(np.abs(samples.read(0, len(samples))).max()))
        return silent(recording)

    found = list(listen(hear, Listening(hours=9 / 3600, stretch_s=1.0, levels_dbfs=(-20.0,))))
    for part, peak in zip(found, peaks, strict=True):
        assert peak == pytest.approx(0.0 if part.sound == "silence" else 0.1, abs=1e-4)


def test_rates_are_of_each_sound_and_of_all() -> None:
    half_hours = [
        Invented("hum", -3.0, 1800.0, 4, 1, 2, 0, ("啊", "哦")),
        Invented("hum", -20.0, 1800.0, 0, 0, 0, 0, ()),
        Invented("DTMF", -3.0, 1800.0, 0, 0, 0, 0, ()),
    ]
    hum, dtmf, together = rates(half_hours)
    assert (hum.sound, hum.hours, hum.flagged_an_hour) == ("hum", 1.0, 2.0)
    assert dtmf.flagged_an_hour == 0.0
    assert (together.sound, together.hours, together.suppressed) == ("all", 1.5, 1)


def test_babble_is_many_voices_at_once_for_the_time_asked_for() -> None:
    needs_debian("espeak-ng")
    heard = []

    def hear(recording: Recording) -> Report:
        heard.append(recording.duration)
        return silent(recording)

    listening = Listening(hours=10 * 5 / 3600, stretch_s=5.0, levels_dbfs=(-3.0,))
    found = list(listen(hear, listening, Babble()))
    assert BABBLE in {part.sound for part in found}
    assert set(heard) == {5.0}
