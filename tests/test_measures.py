import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from models.call import KINDS, Form, Label
from pipelines.training.measures import (
    Answers,
    Figure,
    Truth,
    area_under_roc,
    average_precision,
    calibration_error,
    confusion,
    curve,
    macro_f1,
    recall_at_precision,
    reliability,
    resampled,
    scores,
)

ONE = np.ones((1, 4))


def answers(kinds: list[list[int]], probabilities: list[list[float]] | None = None) -> Answers:
    found = np.array(kinds, bool)
    sure = np.array(probabilities if probabilities else kinds, float)
    return Answers(sure, found, np.zeros((len(found), len(Form)), bool))


def truth(kinds: list[list[int]]) -> Truth:
    return Truth(np.array(kinds, bool), np.zeros((len(kinds), len(Form)), bool))


def test_labels_are_counted_by_themselves_and_compliant_is_none_of_them() -> None:
    true = truth([[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1]])
    found = answers([[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    got = scores(true, found, ONE)
    threat = got.labels[Label.THREAT]
    assert (threat.rows, threat.precision.value, threat.recall.value, threat.f1.value) == (2, 0.5, 0.5, 0.5)
    assert got.labels[Label.THIRD_PARTY_CONTACT].recall.value == 0
    assert got.labels[Label.COMPLIANT].f1.value == 0
    assert got.exact_match.value == 0.25
    assert got.macro_f1.value == pytest.approx((0.5 + 1 + 0 + 0) / 4)
    assert got.macro_f1_of_kinds.value == pytest.approx((0.5 + 1 + 0) / 3)


def test_forms_without_rows_do_not_lift_the_mean() -> None:
    forms = np.zeros((4, len(Form)), bool)
    forms[0, 0] = forms[1, 1] = True
    said = np.zeros_like(forms)
    said[0, 0] = True
    nothing = np.zeros((4, len(KINDS)), bool)
    got = scores(Truth(nothing, forms), Answers(nothing.astype(float), nothing, said), ONE)
    assert got.forms_macro_f1.value == 0.5


def test_a_label_that_is_nowhere_has_no_figure() -> None:
    none = truth([[0, 0, 0]] * 4)
    got = scores(none, answers([[0, 0, 0]] * 4), ONE)
    assert np.isnan(got.labels[Label.THREAT].f1.value)
    assert got.macro_f1.value == 1.0


def test_areas_are_those_of_scikit_learn_with_ties_and_rows_drawn_twice() -> None:
    chance = np.random.default_rng(0)
    true, score = chance.random(50) < 0.3, chance.integers(0, 12, 50) / 12
    weights = chance.multinomial(50, np.full(50, 1 / 50), size=5).astype(float)
    for mine, theirs in ((area_under_roc, roc_auc_score), (average_precision, average_precision_score)):
        expected = [theirs(true, score, sample_weight=drawn) for drawn in weights]
        assert mine(true, score, weights) == pytest.approx(expected)
    assert np.isnan(area_under_roc(np.ones(4, bool), np.arange(4.0), ONE))
    assert np.isnan(average_precision(np.zeros(4, bool), np.arange(4.0), ONE))


def test_recall_at_precision_takes_ties_whole() -> None:
    true = np.array([True, True, False, True])
    assert recall_at_precision(true, np.array([0.9, 0.8, 0.7, 0.6]), ONE)[0] == pytest.approx(2 / 3)
    # No threshold parts the second from the third.
    assert recall_at_precision(true, np.array([0.9, 0.7, 0.7, 0.6]), ONE)[0] == pytest.approx(1 / 3)
    assert recall_at_precision(true, np.array([0.9, 0.7, 0.7, 0.6]), ONE, wanted=0.75)[0] == 1.0
    assert recall_at_precision(~true, np.array([0.9, 0.8, 0.1, 0.7]), ONE)[0] == 0.0


def test_calibration_error_is_the_gap_between_said_and_true() -> None:
    said = np.array([0.75, 0.75, 0.75, 0.75])
    assert calibration_error(np.array([True, True, True, False]), said, ONE)[0] == pytest.approx(0)
    assert calibration_error(np.array([False] * 4), said, ONE)[0] == pytest.approx(0.75)
    (only,) = reliability(np.array([True, True, True, False]), said)
    assert (only.answers, only.probability, only.true) == (4, 0.75, 0.75)
    assert reliability(np.array([True]), np.array([1.0]))[0].answers == 1  # the last bin holds its end


def test_rows_of_a_scenario_are_drawn_together() -> None:
    weights = resampled(["a", "a", "b", "c", "c", "c"], draws=50)
    assert weights.shape == (51, 6)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[1:][:, [0, 2, 3]].sum(1) == 3).all()
    assert (resampled(["a", "b"], 5) == resampled(["a", "b"], 5)).all()


def test_interval_holds_the_middle_of_the_draws() -> None:
    drawn = Figure.of(np.array([0.5, *np.linspace(0, 1, 201), np.nan]))
    assert (drawn.value, round(drawn.low, 3), round(drawn.high, 3)) == (0.5, 0.025, 0.975)


def test_interval_is_wider_where_scenarios_agree_within() -> None:
    right = np.repeat([True, False], 50)
    true = Truth(np.column_stack([np.ones(100, bool), np.zeros((100, 2), bool)]), np.zeros((100, len(Form)), bool))
    found = answers([[int(r), 0, 0] for r in right])
    apart = Figure.of(macro_f1(true, found, resampled([str(i) for i in range(100)], 300)))
    together = Figure.of(macro_f1(true, found, resampled([str(i // 10) for i in range(100)], 300)))
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_confusion_counts_a_row_once_as_what_was_found_of_it() -> None:
    true = truth([[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]])
    found = answers([[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 0, 1]], [[0, 0.9, 0], [0, 0, 0], [0.8, 0, 0], [0.6, 0, 0.7]])
    assert confusion(true, found) == [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]


def test_curve_runs_from_all_to_none() -> None:
    drawn = curve(np.array([True, False] * 500), np.linspace(0, 1, 1000), points=50)
    assert len(drawn.precision) == len(drawn.recall) == 50
    assert (drawn.recall[0], drawn.recall[-1]) == (1.0, 0.0)
