import shutil
from pathlib import Path

import numpy as np
import pytest

from models.call import KIND_OF_FORM, Label
from models.classifier import Classifier
from models.errors import InvalidText, ModelNotFound, WrongModel
from models.weights import BUNDLED

BUNDLED_CLASSIFIER = BUNDLED / "classifier"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def test_a_plain_threat_scores_higher_than_a_greeting(classifier: Classifier) -> None:
    threat, greeting = classifier(["再不还钱就找人打断你的腿", "您好，请问是张先生本人吗？"])
    assert threat.scores[Label.THREAT] > greeting.scores[Label.THREAT]


def test_labels_are_the_kinds_over_their_thresholds_most_probable_first(classifier: Classifier) -> None:
    for judged in classifier(["我给你们单位每个人打电话，让你没脸见人", "你这个骗子", "好的，谢谢"]):
        assert list(judged.labels) == sorted(judged.labels, key=lambda kind: -judged.scores[kind])
        assert judged.label == (judged.labels[0] if judged.labels else Label.COMPLIANT)


def test_a_finding_names_a_form_of_each_kind_and_a_compliant_utterance_none(classifier: Classifier) -> None:
    for judged in classifier(["你就是个畜生", "把你通讯录里的人全部打一遍", "明天去你家泼油漆", "嗯，我知道了"]):
        assert {KIND_OF_FORM[form] for form in judged.forms} == set(judged.labels)


@pytest.mark.parametrize("text", ["😀", "hello", "還錢", "13800", "你\x00好", "仲唔還錢", "还钱" * 5_000])
def test_odd_texts_get_probabilities(classifier: Classifier, text: str) -> None:
    (judged,) = classifier([text])
    assert all(0 <= p <= 1 for p in judged.scores.values())


@pytest.mark.parametrize("text", ["", "  \n", "\x00", "还" * 10_001])
def test_an_empty_or_endless_text_is_refused_by_its_place(classifier: Classifier, text: str) -> None:
    with pytest.raises(InvalidText, match="text 1 "):
        classifier(["您好", text])


def test_the_answer_does_not_depend_on_the_batch(classifier: Classifier) -> None:
    texts = ["您好", "你等着，今晚就去你家", "把你妈的电话给我，我来跟她说这个事情，看她管不管你"] * 5
    together = classifier(texts)
    alone = [classifier([text])[0] for text in texts]
    for a, b in zip(together, alone, strict=True):
        assert np.allclose(list(a.scores.values()), list(b.scores.values()), atol=0.05)


def test_weights_of_other_labels_are_refused(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED_CLASSIFIER, tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace('"threat"', '"joy"'))
    with pytest.raises(WrongModel, match="no output for threat"):
        Classifier(str(tmp_path / "other"))


def test_a_missing_folder_names_the_setting() -> None:
    with pytest.raises(ModelNotFound, match="CALLAUDIT_CLASSIFIER=/nowhere"):
        Classifier("/nowhere")
