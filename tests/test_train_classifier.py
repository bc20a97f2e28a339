"""Fine-tuning of small encoders that the tests make themselves."""

import json
import math
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

from models.call import KIND_OF_FORM, KINDS, Form, Label
from models.classifier import OUTPUTS, TOKENIZER_SHA256, Classifier
from models.encoding import Encoding
from models.errors import ModelNotFound, WrongModel
from pipelines.training.calibration import best_f1_threshold, calibrate
from pipelines.training.classifier import average, fresh
from pipelines.training.dataset import BadData, Row, read_folder
from pipelines.training.examples import known, pair_of, target
from pipelines.training.fine_tuning import FineTuning, OtherRun, Step, fine_tune
from pipelines.training.train_classifier import CHECKPOINT, SCRATCH, AlreadyTrained, train_classifier
from tests.conftest import ROOT

_SAID = {
    (Form.VIOLENCE,): ("打断你的腿", "弄死你", "出门小心点"),
    (Form.ABUSE,): ("你就是个畜生", "不要脸的东西", "骗子"),
    (Form.DISCLOSURE,): ("告诉你单位同事", "给你妈打电话说你欠钱", "你老板知道你欠钱吗"),
    (): ("您好请问是本人吗", "今天下午能还款吗", "好的谢谢再见"),
}
QUICK = FineTuning(epochs=2, rate=1e-3, batch=16, warm_up=2, checkpoint_every=3)
_SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 64}
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_rows(folder: Path, count: int = 60) -> Path:
    chooser = random.Random(0)
    rows = []
    for i in range(count):
        forms, texts = list(_SAID.items())[i % len(_SAID)]
        rows.append(
            {
                "scenario": f"call-{i // 4}",
                "split": ("train", "train", "dev", "test")[i // 4 % 4],
                "speaker": "collector" if forms else "borrower",
                "text": chooser.choice(texts) + chooser.choice(("", "，听到没有", "啊", "，今天")),
                "previous": ["喂", "你说"][: i % 3],
                "labels": [kind for kind in KINDS if kind in {KIND_OF_FORM[form] for form in forms}],
                "forms": list(forms),
                "hard": i % 5 == 0,
                "source": "call",
            }
        )
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (folder / "rows.jsonl").write_text("".join(lines), "utf8")
    return folder


def character_tokenizer(special: Sequence[str], begin: str, end: str, pair: str) -> Tokenizer:
    spoken = sorted({c for texts in _SAID.values() for text in texts for c in text} | set("，听到没有啊今天喂你说"))
    tokenizer = Tokenizer(models.WordLevel({e: i for i, e in enumerate([*special, *spoken])}, unk_token=special[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", pair=pair, special_tokens=[(t, special.index(t)) for t in (begin, end)]
    )
    return tokenizer


def write_bert(folder: Path, entries: int = 0) -> Path:
    tokenizer = character_tokenizer(_SPECIAL, "[CLS]", "[SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=entries or tokenizer.get_vocab_size(), max_position_embeddings=64, initializer_range=0.2, **_SMALL
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_roberta(folder: Path) -> Path:
    """One segment, padding that is not 0, positions that begin after it."""
    special = ["<s>", "<unk>", "<pad>", "</s>"]
    tokenizer = character_tokenizer(special, "<s>", "</s>", "<s> $A </s> </s> $B </s>")
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=66, type_vocab_size=1,
        pad_token_id=2, bos_token_id=0, eos_token_id=3, **_SMALL,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_distilbert(folder: Path) -> Path:
    """No segments at all; its tokenizer as the list of entries that older models come with."""
    tokenizer = character_tokenizer(_SPECIAL, "[CLS]", "[SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    entries = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    config = DistilBertConfig(
        vocab_size=len(entries), max_position_embeddings=64, n_layers=1, n_heads=2, dim=32, hidden_dim=64
    )
    DistilBertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(entries) + "\n", "utf8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return folder


def silent(step: Step) -> None:
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def rows(data: Path) -> list[Row]:
    return read_folder(data)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def trained(base: Path, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "model"
    told: list[Step] = []
    train_classifier(str(base), rows, out, options=replace(QUICK, epochs=60, rate=3e-3), watch=told.append)
    assert (told[-1].done, told[-1].steps) == (120, 120)
    return out


def test_trained_folder_is_loaded_and_labels(trained: Path) -> None:
    classifier = Classifier(str(trained))
    for judged in classifier([text for texts in _SAID.values() for text in texts], [["喂"]] * 12):
        assert set(judged.scores) == set(KINDS)
        assert {KIND_OF_FORM[form] for form in judged.forms} == set(judged.labels)
    assert not (trained / CHECKPOINT).exists()
    assert not list(trained.glob("unfinished-*"))


def test_it_learned_what_it_was_shown(trained: Path, rows: list[Row]) -> None:
    shown = [row for row in rows if row.split == "train"]
    judged = Classifier(str(trained))([row.text for row in shown], [row.previous for row in shown])
    for kind in KINDS:
        held = [j.scores[kind] for row, j in zip(shown, judged, strict=True) if kind in row.labels]
        others = [j.scores[kind] for row, j in zip(shown, judged, strict=True) if kind not in row.labels]
        assert sum(held) / len(held) > sum(others) / len(others)


@pytest.mark.usefixtures("trained")
def test_the_smallest_numbers_are_not_nothing_afterwards() -> None:
    assert math.ulp(0.0) * 1.0 > 0


def test_card_tells_base_data_options_and_labels(trained: Path, base: Path) -> None:
    card = json.loads((trained / "card.json").read_text("utf8"))
    assert card["base"] == str(base)
    assert card["labels"] == list(OUTPUTS)
    assert card["options"]["epochs"] == 60
    assert card["version"] == card["data_sha256"][:12] == Classifier(str(trained)).weights.version


def test_weights_and_export_say_the_same(trained: Path, tmp_path: Path) -> None:
    assert (trained / "model.onnx").is_file()
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "calibration.json"):
        (bare / name).write_bytes((trained / name).read_bytes())
    texts = [text for texts in _SAID.values() for text in texts]
    exact, fast = (
        Classifier(str(bare), device="cpu").logits(texts),
        Classifier(str(trained), device="cpu").logits(texts),
    )
    assert abs(exact - fast).mean() < 0.15


def test_its_tokenizer_is_part_of_it(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in trained.iterdir():
        if file.is_file():
            (other / file.name).write_bytes(file.read_bytes())
    assert json.loads((other / "config.json").read_text("utf8"))[TOKENIZER_SHA256]
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text("utf8") + "\n", "utf8")
    with pytest.raises(WrongModel, match="not the one its weights were trained with"):
        Classifier(str(other))


def test_a_finished_model_is_not_written_over(trained: Path, base: Path, rows: list[Row]) -> None:
    with pytest.raises(AlreadyTrained, match="holds a finished classifier"):
        train_classifier(str(base), rows, trained, options=QUICK, watch=silent)


def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(
    base: Path, data: Path, rows: list[Row], tmp_path: Path
) -> None:
    options = replace(QUICK, epochs=60, checkpoint_every=2)
    killed = tmp_path / "killed"
    command = [
        sys.executable, "-m", "app.cli", "train", "classifier", "--base", base, "--data", data, "--out", killed,
        "--epochs", "60", "--rate", "1e-3", "--batch", "16", "--warm-up", "2", "--checkpoint-every", "2",
    ]  # fmt: skip
    with subprocess.Popen(list(map(str, command)), cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 600
        while not (killed / CHECKPOINT).is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL, process.stderr.read() if process.stderr else ""
    assert not (killed / "calibration.json").exists()
    with pytest.raises(ModelNotFound):
        Classifier(str(killed))
    done = torch.load(killed / CHECKPOINT, weights_only=True)["step"]
    assert 2 <= done < 120
    told: list[Step] = []
    train_classifier(str(base), rows, killed, options=options, watch=told.append)
    assert told[-1].done_now == 120 - done
    whole = tmp_path / "whole"
    train_classifier(str(base), rows, whole, options=options, watch=silent)
    resumed, uninterrupted = (load_file(folder / "model.safetensors") for folder in (killed, whole))
    for name, weights in uninterrupted.items():
        assert torch.allclose(resumed[name], weights, atol=2e-3), name


def test_a_checkpoint_of_another_run_is_refused(base: Path, rows: list[Row], tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(step: Step) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train_classifier(str(base), rows, tmp_path, options=replace(QUICK, checkpoint_every=1), watch=stop)
    assert (tmp_path / CHECKPOINT).is_file()
    with pytest.raises(OtherRun, match="other data, another base or other options"):
        train_classifier(str(base), rows, tmp_path, options=replace(QUICK, seed=1), watch=silent)
    with pytest.raises(OtherRun):
        train_classifier(str(base), rows[:-1], tmp_path, options=replace(QUICK, checkpoint_every=1), watch=silent)


@pytest.mark.parametrize("write", [write_roberta, write_distilbert])
def test_encoders_of_other_families_are_taken(write: object, rows: list[Row], tmp_path: Path) -> None:
    assert callable(write)
    out = tmp_path / "out"
    train_classifier(str(write(tmp_path / "base")), rows, out, options=replace(QUICK, precision="bf16"), watch=silent)
    exported = Classifier(str(out), device="cpu")
    (out / "model.onnx").unlink(missing_ok=True)
    exact = Classifier(str(out), device="cpu")
    texts = ["打断你的腿", "好的谢谢再见，今天"]
    assert abs(exported.logits(texts, [["喂"], []]) - exact.logits(texts, [["喂"], []])).max() < 0.3


def test_own_encoder_from_scratch(rows: list[Row], tmp_path: Path) -> None:
    train_classifier(SCRATCH, rows, tmp_path, options=replace(QUICK, epochs=1), watch=silent)
    (judged,) = Classifier(str(tmp_path))(["打断你的腿"])
    assert 0 <= judged.scores[Label.THREAT] <= 1


def test_words_moved_by_adversarial_training_are_put_back(base: Path, rows: list[Row]) -> None:
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))

    def trained(options: FineTuning) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = fresh(tokenizer, base)
        show = lambda row, _: pair_of(row.text, row.previous)  # noqa: E731 - as the row says it
        fine_tune(model, Encoding(tokenizer, model.config.to_dict()), rows, shown=show, options=options, watch=silent)
        return dict(model.state_dict())

    words = "bert.embeddings.word_embeddings.weight"
    still = trained(replace(QUICK, rate=0.0, adversarial=5.0))
    torch.testing.assert_close(still[words], trained(replace(QUICK, rate=0.0))[words], rtol=0, atol=0)
    assert not torch.equal(trained(replace(QUICK, adversarial=5.0))[words], trained(QUICK)[words])


def test_the_mean_of_encoders_lies_between_them(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(_SPECIAL, "[CLS]", "[SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")
    config = BertConfig(vocab_size=tokenizer.get_vocab_size(), **_SMALL)
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        BertModel(config).save_pretrained(folder)
    each = [fresh(tokenizer, folder) for folder in folders]
    for folder, model in zip(folders, each, strict=True):
        model.save_pretrained(folder)
    mean = fresh(tokenizer, folders[0], dropout=0.3)
    average(mean, folders[1:])
    assert mean.config.hidden_dropout_prob == 0.3
    for name, value in mean.state_dict().items():
        torch.testing.assert_close(value, sum(model.state_dict()[name] for model in each) / 3)


def test_a_base_with_another_tokenizer_is_refused(rows: list[Row], tmp_path: Path) -> None:
    small = write_bert(tmp_path / "base", entries=20)
    with pytest.raises(WrongModel, match=r"its tokenizer has \d+ entries and its weights 20"):
        train_classifier(str(small), rows, tmp_path / "out", options=QUICK, watch=silent)


def test_a_base_that_is_none_is_refused(rows: list[Row], tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    with pytest.raises(ModelNotFound, match=r"--base=.*lacks config\.json"):
        train_classifier(str(tmp_path / "base"), rows, tmp_path / "out", options=QUICK, watch=silent)
    (tmp_path / "base" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WrongModel, match="cannot fine-tune it"):
        train_classifier(str(tmp_path / "base"), rows, tmp_path / "out", options=QUICK, watch=silent)


def test_data_that_lacks_a_kind_is_refused_before_the_training(base: Path, rows: list[Row], tmp_path: Path) -> None:
    polite = [row for row in rows if Label.INSULT not in row.labels]
    with pytest.raises(BadData, match=r"0 of .* train rows are labelled insult"):
        train_classifier(str(base), polite, tmp_path, options=QUICK, watch=silent)
    without = [row for row in rows if row.split != "dev" or Label.THREAT not in row.labels]
    with pytest.raises(BadData, match=r"0 of .* dev rows are labelled threat"):
        train_classifier(str(base), without, tmp_path, options=QUICK, watch=silent)


def test_a_label_without_its_form_teaches_nothing_of_forms(rows: list[Row]) -> None:
    row = next(row for row in rows if row.forms == (Form.VIOLENCE,))
    assert target(row)[OUTPUTS.index("threat")] == target(row)[OUTPUTS.index("violence")] == 1
    assert all(known(row))
    told = dict(zip(OUTPUTS, known(replace(row, forms=())), strict=True))
    assert not any(told[form] for form in Form if KIND_OF_FORM[form] is Label.THREAT)
    assert told["threat"] == told["insult"] == told["abuse"] == 1


def test_thresholds_are_of_best_f1_and_for_threats_of_the_precision_asked_for(rows: list[Row]) -> None:
    truth = torch.tensor([1, 1, 0, 1, 0, 0, 0, 0]).bool().numpy()
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]).double().numpy()
    assert best_f1_threshold(truth, scores) == (pytest.approx(0.6), pytest.approx(6 / 7))
    assert best_f1_threshold(truth, scores, precision=0.95)[0] == pytest.approx(0.8)
    dev = [row for row in rows if row.split == "dev"] * 4
    logits = torch.tensor([[8 * flag - 4 for flag in target(row)] for row in dev]).numpy()
    calibration = calibrate(logits, dev, 0.95)
    assert calibration.probability(Label.THREAT, 4) > 0.9
    assert calibration.probability(Label.THREAT, -4) < 0.1
    with pytest.raises(BadData, match="are labelled threat"):
        calibrate(logits[:1], dev[:1], 0.95)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--base", "scratch", "--data", "{wrong}"), "rows.jsonl, line 1: not a labelled utterance: 'joy' is not"),
        (("--base", "scratch", "--data", "{data}", "--precision", "int3"), "'int3' is not one of 'auto'"),
    ],
)
def test_command_names_what_is_wrong(arguments: Sequence[str], complaint: str, data: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "rows.jsonl").write_text(
        '{"scenario": "a", "speaker": "x", "text": "a", "previous": [], "labels": ["joy"]}'
    )
    given = [argument.format(wrong=wrong, data=data) for argument in arguments]
    command = [sys.executable, "-m", "app.cli", "train", "classifier", *given, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_command_trains_measures_and_writes_the_card(base: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "app.cli", "train", "classifier", "--base", base, "--data", data, "--out", out]
    done = subprocess.run([*map(str, command), "--epochs", "1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "step 1/1" in done.stderr
    assert "macro-F1" in done.stdout
    assert "**Not fit for.** judging anybody unheard" in (out / "README.md").read_text("utf8")
    assert json.loads((out / "evaluation" / "report.json").read_text("utf8"))["split"] == "test"
    assert "<svg" in (out / "evaluation" / "report.html").read_text("utf8")
    Classifier(str(out))


def test_an_epoch_draws_so_many_rows_that_tell_nothing_and_all_others(
    base: Path, rows: list[Row], tmp_path: Path
) -> None:
    shown = [row for row in rows if row.split == "train"]
    telling = sum(bool(row.labels or row.hard) for row in shown)
    assert 0 < telling < len(shown) - 1
    for plain, drawn in ((1, telling + 1), (len(shown), len(shown))):
        told: list[Step] = []
        options = replace(QUICK, batch=1, plain=plain)
        train_classifier(str(base), rows, tmp_path / str(plain), options=options, watch=told.append)
        assert told[-1].steps == options.epochs * drawn
