from models.call import Label
from pipelines.evaluation import f1, macro_f1

THREAT, INSULT = {Label.THREAT}, {Label.INSULT}


def test_f1_counts_misses_and_false_alarms_alike() -> None:
    pairs = [(THREAT, THREAT), (THREAT, set()), (set(), THREAT)]
    assert f1(pairs, Label.THREAT) == 0.5
    assert f1(pairs, Label.COMPLIANT) == 0.0


def test_macro_f1_of_a_perfect_answer_is_one() -> None:
    assert macro_f1([(THREAT, THREAT), (INSULT, INSULT), (set(), set())]) == 1.0


def test_a_second_kind_that_was_missed_lowers_only_its_own_f1() -> None:
    pairs = [(THREAT | INSULT, THREAT)]
    assert f1(pairs, Label.THREAT) == 1.0
    assert f1(pairs, Label.INSULT) == 0.0
