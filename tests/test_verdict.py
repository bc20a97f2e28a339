from hypothesis import given, settings
from hypothesis import strategies as st

from models.call import KINDS, Label, Speaker
from pipelines.report import RecordingPart, Report, Scores, UtterancePart, summarise
from pipelines.verdict import kappa, verdict

THREAT, INSULT, CONTACT = KINDS


def report(*utterances: tuple[Speaker, tuple[Label, ...], bool]) -> Report:
    parts = [
        UtterancePart(
            index=index,
            channel=0,
            speaker=speaker,
            start=float(index),
            end=index + 1.0,
            text="话",
            raw_text="话",
            label=labels[0] if labels else Label.COMPLIANT,
            labels=labels,
            scores=Scores(threat=0, insult=0, third_party_contact=0),
            asr_confidence=0.9,
            needs_review=unsure,
        )
        for index, (speaker, labels, unsure) in enumerate(utterances)
    ]
    recording = RecordingPart(sha256="0" * 64, duration=9, channels=1, codec="flac")
    return Report(recording=recording, models=(), utterances=tuple(parts), summary=summarise(parts))


CALL = report(
    (Speaker.COLLECTOR, (THREAT, INSULT), False),
    (Speaker.COLLECTOR, (CONTACT,), True),
    (Speaker.BORROWER, (INSULT,), False),
    (Speaker.UNKNOWN, (INSULT,), True),
    (Speaker.COLLECTOR, (), False),
)


def test_verdict_without_reviews_is_the_reports_own() -> None:
    assert verdict(CALL.utterances, {}) == CALL.summary.verdict == (THREAT, INSULT)


def test_verdict_follows_what_people_decide() -> None:
    assert verdict(CALL.utterances, {0: ()}) == ()
    assert verdict(CALL.utterances, {0: (INSULT,)}) == (INSULT,)
    assert verdict(CALL.utterances, {0: (), 1: (CONTACT,)}) == (CONTACT,)
    assert verdict(CALL.utterances, {0: (), 4: (THREAT,)}) == (THREAT,)


def test_unknown_speaker_counts_once_heard_and_a_borrower_never() -> None:
    assert verdict(CALL.utterances, {0: (), 3: (INSULT,)}) == (INSULT,)
    assert verdict(CALL.utterances, {0: (), 2: (INSULT,)}) == ()


def test_kappa_of_a_known_table() -> None:
    """The textbook's: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no give 0.4."""
    yes, no = THREAT, Label.COMPLIANT
    pairs = [(yes, yes)] * 20 + [(yes, no)] * 5 + [(no, yes)] * 10 + [(no, no)] * 15
    found = kappa(pairs)
    assert found is not None
    assert abs(found - 0.4) < 1e-9


def test_kappa_is_not_defined_without_pairs_or_without_any_difference() -> None:
    assert kappa([]) is None
    assert kappa([(THREAT, THREAT)] * 3) is None


@given(st.lists(st.tuples(st.sampled_from(list(Label)), st.sampled_from(list(Label))), max_size=40))
@settings(deadline=None, database=None)
def test_kappa_is_the_same_both_ways_and_at_most_one(pairs: list[tuple[Label, Label]]) -> None:
    found, turned = kappa(pairs), kappa([(b, a) for a, b in pairs])
    assert (found is None) == (turned is None)
    if found is not None and turned is not None:
        assert abs(found - turned) < 1e-9
        assert found <= 1
