import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.call import KIND_OF_FORM, KINDS, Label
from models.classifier import TOKENIZER_SHA256, Classifier, normalise
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


ODD = [
    "😀",
    "😡👊🏽👨‍👩‍👧",
    "hello, where is my money",
    "13800138000",
    "0",
    "？！",
    "還錢！不然我哋上你屋企搵你",
    "你唔還錢我日日打畀你阿媽",
    "你\x00好\x1b[31m",
    "\u202e还钱\u202c",
    "\ud800还钱",
    "还钱\n\n\n今天\t下午",
    "ﬀ㍿①Ⅷ",
    "还钱" * 5_000,
    "a" * 10_000,
]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_get_probabilities(classifier: Classifier, text: str) -> None:
    (judged,) = classifier([text], [[text, ""]])
    assert set(judged.scores) == set(KINDS)
    assert all(0 <= p <= 1 for p in judged.scores.values())
    assert {KIND_OF_FORM[form] for form in judged.forms} == set(judged.labels)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("還錢", "还钱"),
        ("Ｏ２Ｏ　貸款", "O2O，贷款"),
        ("欠3,000块，18:30前还", "欠三千块,十八点三十分前还"),
        ("打13800138000或者110", "打幺三八零零幺三八零零零或者幺幺零"),
        ("9" * 500, "9" * 500),
        (" 你好  在吗\n", "你好，在吗"),
        ("打\u200b断\ufeff你\x00的腿", "打断你的腿"),
        ("\x1b你好\ud800", "你好"),
    ],
)
def test_texts_are_compared_as_they_sound(written: str, plain: str) -> None:
    assert normalise(written) == plain


def test_traditional_and_invisible_characters_change_no_answer(classifier: Classifier) -> None:
    said, written, hidden = classifier(["再不还钱打断你的腿", "再不還錢打斷你的腿", "再不还\u200b钱打\u200b断你的腿"])
    assert said.scores == written.scores == hidden.scores


def test_digits_change_no_answer(classifier: Classifier) -> None:
    """Whisper writes digits, the corpus has numbers as they are spoken."""
    spoken, written = classifier(
        ["再不还那三千块，晚上八点就来打断你两条腿", "再不还那3,000块，晚上8点就来打断你2条腿"]
    )
    assert spoken.scores == written.scores


def test_a_long_text_is_judged_by_its_worst_part(classifier: Classifier) -> None:
    threat, padding = "再不还钱就找人打断你的腿", "今天天气不错我们出去走走吧"
    (alone,) = classifier([threat])
    (within,) = classifier([padding * 40 + threat + padding * 40])
    (around,) = classifier([padding * 80])
    assert within.scores[Label.THREAT] >= around.scores[Label.THREAT]
    assert alone.scores[Label.THREAT] > 0


@pytest.mark.parametrize("text", ["", "  \n", "\x00", "\u200b\ufeff", "\ud800", "还" * 10_001, "ﷺ" * 9_999])
def test_an_empty_or_endless_text_is_refused_by_its_place(classifier: Classifier, text: str) -> None:
    with pytest.raises(InvalidText, match="text 1 "):
        classifier(["您好", text])


def test_no_texts_get_no_answers(classifier: Classifier) -> None:
    assert classifier([]) == []


def test_the_answer_does_not_depend_on_the_batch(classifier: Classifier) -> None:
    texts = ["您好", "你等着，今晚就去你家", "把你妈的电话给我，我来跟她说这个事情，看她管不管你"] * 5
    together = classifier(texts)
    alone = [classifier([text])[0] for text in texts]
    for a, b in zip(together, alone, strict=True):
        assert np.allclose(list(a.scores.values()), list(b.scores.values()), atol=0.05)


def test_answers_come_in_the_order_of_the_texts_however_they_are_shared_out(classifier: Classifier) -> None:
    said = ["今天不还钱我就带人上你家泼油漆", "您好，请问是张先生本人吗？", "你就是个不要脸的骗子"]
    alone = [classifier([text])[0].label for text in said]
    assert len(set(alone)) == 3
    assert [judged.label for judged in classifier(said * 25)] == alone * 25


def test_weights_of_other_labels_are_refused(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED_CLASSIFIER, tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    config.write_text(config.read_text().replace('"threat"', '"joy"'))
    with pytest.raises(WrongModel, match="no output for threat"):
        Classifier(str(tmp_path / "other"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Weights that say which tokenizer is theirs, as training writes them."""
    folder = tmp_path / "copy"
    shutil.copytree(BUNDLED_CLASSIFIER, folder)
    config = json.loads((folder / "config.json").read_text("utf8"))
    config[TOKENIZER_SHA256] = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config), "utf8")
    return folder


def test_weights_with_their_own_tokenizer_are_taken(copy: Path, classifier: Classifier) -> None:
    texts = ["你这个骗子", "好的，谢谢"]
    assert [j.scores for j in Classifier(str(copy))(texts)] == [j.scores for j in classifier(texts)]


def test_a_changed_tokenizer_is_refused(copy: Path) -> None:
    file = copy / "tokenizer.json"
    tokenizer = json.loads(file.read_text("utf8"))
    pieces = tokenizer["model"]["vocab"]
    pieces[100], pieces[101] = pieces[101], pieces[100]
    file.write_text(json.dumps(tokenizer), "utf8")
    with pytest.raises(WrongModel, match="not the one its weights were trained with"):
        Classifier(str(copy))


@pytest.mark.parametrize("entries", [3_000, 9_000])
def test_a_tokenizer_of_another_size_is_refused(tmp_path: Path, entries: int) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(BUNDLED_CLASSIFIER, folder)
    config = json.loads((folder / "config.json").read_text("utf8"))
    config.pop(TOKENIZER_SHA256, None)
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": entries}), "utf8")
    with pytest.raises(WrongModel, match=rf"its tokenizer has \d+ entries and its weights {entries}"):
        Classifier(str(folder))


def test_a_broken_tokenizer_is_refused(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{}")
    config = json.loads((copy / "config.json").read_text("utf8"))
    del config[TOKENIZER_SHA256]
    (copy / "config.json").write_text(json.dumps(config), "utf8")
    with pytest.raises(WrongModel, match=r"its tokenizer\.json cannot be read"):
        Classifier(str(copy))


def test_weights_and_their_export_say_the_same(copy: Path, classifier: Classifier) -> None:
    (copy / "model.onnx").unlink()
    texts = ["我给你们单位每个人打电话", "你就是个畜生", "好的，谢谢", "今晚带几个人去你家坐着"]
    exact = Classifier(str(copy), device="cpu")(texts)
    for a, b in zip(exact, classifier(texts), strict=True):
        assert np.allclose(list(a.scores.values()), list(b.scores.values()), atol=0.1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU")
def test_a_torch_without_gpus_is_told_and_auto_takes_the_export(copy: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"CALLAUDIT_CLASSIFIER=.*cannot load it on cuda"):
        Classifier(str(copy), device="cuda")
    assert Classifier(str(copy), device="auto")(["好的"])


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    (copy / "model.onnx").unlink()
    config = json.loads((copy / "config.json").read_text("utf8"))
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 8}), "utf8")
    with pytest.raises(ModelNotFound, match="cannot load it on cpu"):
        Classifier(str(copy), device="cpu")


def test_a_missing_folder_names_the_setting() -> None:
    with pytest.raises(ModelNotFound, match="CALLAUDIT_CLASSIFIER=/nowhere"):
        Classifier("/nowhere")
