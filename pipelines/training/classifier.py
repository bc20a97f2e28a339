"""Corpus -> classifier: pre-trained by masked language modelling, fine-tuned with context, calibrated, exported."""

import argparse
import json
import math
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from models.call import KINDS, Form, Label
from models.classifier import COLLECTOR, LONGEST_INPUT, OUTPUTS, PREVIOUS_TURNS, Calibration, normalise
from pipelines.training.dataset import CORPUS, Row, read_rows
from pipelines.training.noise import Misheard, coarse, syllable, without_marks
from pipelines.training.texts import ordinary_talk, pretraining_pairs

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))


class PinyinEmbedding(nn.Module):
    """A character's vector is its own plus its syllable's, so that homophones begin alike; folded to one on export."""

    def __init__(self, entries: Sequence[str], width: int) -> None:
        super().__init__()
        sounds = [syllable(entry) if len(entry) == 1 else entry for entry in entries]
        exact, near = _numbered(sounds), _numbered([coarse(sound) for sound in sounds])
        self.register_buffer("exact_of", torch.tensor(exact), persistent=False)
        self.register_buffer("near_of", torch.tensor(near), persistent=False)
        self.own = nn.Embedding(len(entries), width)
        self.exact = nn.Embedding(max(exact) + 1, width)
        self.near = nn.Embedding(max(near) + 1, width)
        for table in (self.own, self.exact, self.near):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.own(ids) + self.exact(self.exact_of[ids]) + self.near(self.near_of[ids])
        return embedded

    def folded(self) -> Tensor:
        with torch.no_grad():
            return self(torch.arange(self.own.num_embeddings))


def _numbered(names: Sequence[str]) -> list[int]:
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return [number[name] for name in names]


def character_tokenizer(characters: Sequence[str]) -> Tokenizer:
    """One token a character; what is unknown is [UNK]."""
    entries = [*SPECIAL, *characters]
    tokenizer = Tokenizer(models.WordLevel({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.enable_truncation(LONGEST_INPUT)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    return tokenizer


def configuration(entries: int) -> BertConfig:
    return BertConfig(
        vocab_size=entries,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1_024,
        max_position_embeddings=192,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        problem_type="multi_label_classification",
        num_labels=len(OUTPUTS),
        id2label=dict(enumerate(OUTPUTS)),
        label2id={name: i for i, name in enumerate(OUTPUTS)},
        attn_implementation="sdpa",
    )


def encode(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    encoded = tokenizer.encode_batch(list(pairs))
    longest = max(len(e.ids) for e in encoded)
    ids = torch.full((len(pairs), longest), PAD)
    types = torch.zeros((len(pairs), longest), dtype=torch.long)
    for row, e in enumerate(encoded):
        ids[row, : len(e.ids)] = torch.tensor(e.ids)
        types[row, : len(e.ids)] = torch.tensor(e.type_ids)
    return {"input_ids": ids, "token_type_ids": types, "attention_mask": (ids != PAD).long()}


def pretrain(
    pairs: list[tuple[str, str]], tokenizer: Tokenizer, misheard: Misheard, options: argparse.Namespace
) -> None:
    """Masked language modelling over (utterance, turns before); part of the masks are homophones instead."""
    torch.set_flush_denormal(True)  # peaked attention is full of them, and each costs a hundred cycles
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    chooser = random.Random(options.seed)
    model = _masked_model(tokenizer, dropout=0.0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.01)
    began = time.monotonic()
    sums, step = Counter[str](), 0
    for batch in _batches(pairs, options.batch, chooser):
        spent = (time.monotonic() - began) / 60 / options.minutes
        if spent >= 1:
            break
        inputs = encode(tokenizer, [(text, turn if chooser.random() < 0.3 else "") for text, turn in batch])
        targets = inputs["input_ids"]
        chosen = (torch.rand(targets.shape) < 0.25) & (targets >= len(SPECIAL))
        inputs["input_ids"] = _corrupt(inputs["input_ids"], chosen, tokenizer, misheard, chooser)
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, (step + 1) / 200) * max(0.02, 1 - spent)
        # Only the masked positions reach the vocabulary: its projection is a third of the model's work.
        hidden = model.bert(**inputs).last_hidden_state[chosen]
        loss = nn.functional.cross_entropy(model.cls(hidden), targets[chosen])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        sums.update(loss=loss.item(), n=1)
        if step % 100 == 0:
            print(
                f"pretrain step {step} minute {spent * options.minutes:.1f} loss {sums['loss'] / sums['n']:.3f}",
                flush=True,
            )
            sums.clear()
        if step % 1_000 == 0:
            torch.save(model.state_dict(), options.pretrained)
    torch.save(model.state_dict(), options.pretrained)


def _masked_model(tokenizer: Tokenizer, dropout: float = 0.1) -> BertForMaskedLM:
    entries = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    config = configuration(len(entries))
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    config.tie_word_embeddings = False
    model = BertForMaskedLM(config)
    model.bert.embeddings.word_embeddings = PinyinEmbedding(entries, config.hidden_size)
    return model


def _corrupt(ids: Tensor, chosen: Tensor, tokenizer: Tokenizer, misheard: Misheard, chooser: random.Random) -> Tensor:
    corrupted = ids.clone()
    for row, column in chosen.nonzero().tolist():
        draw = chooser.random()
        if draw < 0.55:
            corrupted[row, column] = MASK
        elif draw < 0.9:
            like = misheard.like(tokenizer.id_to_token(int(ids[row, column])), chooser)
            corrupted[row, column] = tokenizer.token_to_id(like) or UNK
    return corrupted


def _batches(pairs: list[tuple[str, str]], size: int, chooser: random.Random) -> Iterator[list[tuple[str, str]]]:
    """For ever; batches of like length from large random pools."""
    while True:
        pool = chooser.choices(pairs, k=size * 40)
        pool.sort(key=lambda pair: len(pair[0]))
        batches = [pool[i : i + size] for i in range(0, len(pool), size)]
        chooser.shuffle(batches)
        yield from batches


def target(row: Row) -> list[float]:
    held = {*row.labels, *row.forms}
    return [*(float(name in held) for name in (*KINDS, *Form)), float(row.speaker == COLLECTOR)]


def pair_of(text: str, previous: Sequence[str]) -> tuple[str, str]:
    return normalise(text), "。".join(normalise(turn) for turn in previous[-PREVIOUS_TURNS:])[-60:]


def noisy_pair(row: Row, heard: Sequence[str], misheard: Misheard, chooser: random.Random) -> tuple[str, str]:
    """The row as a recogniser may give it. `heard`: what the bundled recogniser made of it, if it was tried."""
    text, context = pair_of(row.text, row.previous)
    if heard and chooser.random() < 0.35:
        text = normalise(chooser.choice(heard)) or text
    elif chooser.random() < 0.6:
        text = misheard(text, chooser.uniform(0, 0.3), chooser) or text
    if chooser.random() < 0.3:
        context = misheard(context, chooser.uniform(0, 0.3), chooser)
    if chooser.random() < 0.2:
        context = ""
    if chooser.random() < 0.4:
        text, context = without_marks(text) or text, without_marks(context)
    return text, context


def fine_tune(
    rows: list[Row], heard: dict[str, list[str]], tokenizer: Tokenizer, misheard: Misheard, options: argparse.Namespace
) -> BertForSequenceClassification:
    torch.set_flush_denormal(True)  # peaked attention is full of them, and each costs a hundred cycles
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    chooser = random.Random(options.seed)
    masked = _masked_model(tokenizer)
    if options.pretrained:
        masked.load_state_dict(torch.load(options.pretrained, weights_only=True))
    model = BertForSequenceClassification(masked.config)
    model.bert.embeddings.word_embeddings = masked.bert.embeddings.word_embeddings
    model.bert.load_state_dict(masked.bert.state_dict(), strict=False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.01)
    steps = options.epochs * len(rows) // options.batch
    weights = torch.tensor([1.0] * len(KINDS) + [0.3] * len(Form) + [0.3])
    model.train()
    step, sums = 0, Counter[str]()
    for _ in range(options.epochs):
        order = sorted(rows, key=lambda row: len(row.text) + chooser.uniform(0, 15))
        batches = [order[i : i + options.batch] for i in range(0, len(order), options.batch)]
        chooser.shuffle(batches)
        for batch in batches:
            inputs = encode(tokenizer, [noisy_pair(row, heard.get(row.text, ()), misheard, chooser) for row in batch])
            for group in optimiser.param_groups:
                group["lr"] = (
                    options.rate
                    * min(1, (step + 1) / 100)
                    * max(0.01, 0.5 + 0.5 * math.cos(math.pi * min(1, step / steps)))
                )
            logits = model(**inputs).logits
            losses = nn.functional.binary_cross_entropy_with_logits(
                logits, torch.tensor([target(row) for row in batch]), reduction="none"
            )
            loss = (losses * weights).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            sums.update(loss=loss.item(), n=1)
            if step % 100 == 0:
                print(
                    f"fine-tune step {step}/{steps} loss {sums['loss'] / sums['n']:.4f}",
                    flush=True,
                )
                sums.clear()
    return model.eval()


def logits_of(
    model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], size: int = 64
) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [model(**encode(tokenizer, pairs[i : i + size])).logits for i in range(0, len(pairs), size)]
    result: NDArray[np.float32] = torch.cat(parts).numpy()
    return result


def calibrate(logits: NDArray[np.float32], rows: Sequence[Row], precision: float) -> Calibration:
    """Platt scaling, and thresholds: best F1, for threats best recall at `precision` if that can be had."""
    slope, offset, threshold = {}, {}, {}
    for index, kind in enumerate(KINDS):
        truth = np.array([kind in row.labels for row in rows])
        fitted = LogisticRegression(C=100).fit(logits[:, [index]], truth)
        slope[kind], offset[kind] = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        scores = 1 / (1 + np.exp(-(slope[kind] * logits[:, index] + offset[kind])))
        precisions, recalls, thresholds = precision_recall_curve(truth, scores)
        f1 = 2 * precisions * recalls / np.maximum(precisions + recalls, 1e-9)
        allowed = precisions[:-1] >= precision if kind is Label.THREAT else np.ones(len(thresholds), bool)
        best = int(np.argmax(np.where(allowed, f1[:-1], -1)))
        threshold[kind] = float(thresholds[best])
        print(
            f"{kind}: threshold {threshold[kind]:.3f}, dev precision {precisions[best]:.3f}, recall {recalls[best]:.3f}"
        )
    return Calibration(slope, offset, threshold)


def save(model: BertForSequenceClassification, tokenizer: Tokenizer, calibration: Calibration, out: Path) -> None:
    """A plain transformers folder in half precision, where the pinyin-aware embedding becomes an ordinary one."""
    out.mkdir(parents=True, exist_ok=True)
    embedding = model.bert.embeddings.word_embeddings
    if isinstance(embedding, PinyinEmbedding):
        model.bert.embeddings.word_embeddings = nn.Embedding.from_pretrained(embedding.folded(), padding_idx=PAD)
    _export_int8(model, tokenizer, out / "model.onnx")
    model.half().save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"))
    calibration.save(out / "calibration.json")


def _export_int8(model: BertForSequenceClassification, tokenizer: Tokenizer, file: Path) -> None:
    inputs = encode(tokenizer, [("你好", "再见"), ("请问是您本人吗", "")])
    names = ("input_ids", "attention_mask", "token_type_ids")
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / "exact.onnx"
        torch.onnx.export(
            model, tuple(inputs[name] for name in names), exact, input_names=list(names), output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}}, dynamo=False,
        )  # fmt: skip
        quantize_dynamic(exact, file, weight_type=QuantType.QInt8, per_channel=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["pretrain", "fine-tune"])
    parser.add_argument("--reference", type=Path, required=True, help="folder of reference data")
    parser.add_argument("--pretrained", type=Path, help="weights that pretrain writes and fine-tune reads")
    parser.add_argument("--heard", type=Path, help="JSON: text -> what the recogniser made of it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--ordinary", type=int, default=2_500, help="rows of ordinary talk among the compliant ones")
    parser.add_argument("--threat-precision", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = read_rows(sorted(CORPUS.glob("*.jsonl")))
    trained_on = [row for row in rows if row.split == "train"]
    general = pretraining_pairs(options.reference)
    counts = Counter("".join(text for text, _ in general))
    counts.update("".join(row.text for row in trained_on) * 5)
    characters = [c for c, n in counts.most_common() if n >= 4 and len(c) == 1 and not c.isspace()]
    tokenizer, misheard = character_tokenizer(characters), Misheard([c for c in characters if "一" <= c <= "鿿"])
    if options.stage == "pretrain":
        pairs = [(normalise(text), normalise(turn)[-60:]) for text, turn in general]
        pairs += [pair_of(row.text, row.previous) for row in trained_on] * 5
        pretrain(pairs, tokenizer, misheard, options)
        return
    talk = random.Random(options.seed).sample(ordinary_talk(options.reference, kept=False), options.ordinary)
    trained_on += [Row("ordinary", "train", "", t, (p,) if p else (), (), (), False, "ordinary") for t, p in talk]
    heard = json.loads(options.heard.read_text("utf8")) if options.heard else {}
    model = fine_tune(trained_on, heard, tokenizer, misheard, options)
    dev = [row for row in rows if row.split == "dev"]
    chooser = random.Random(1)
    pairs = [pair_of(row.text, row.previous) for row in dev]
    pairs += [noisy_pair(row, heard.get(row.text, ()), misheard, chooser) for row in dev]
    calibration = calibrate(logits_of(model, tokenizer, pairs), [*dev, *dev], options.threat_precision)
    save(model, tokenizer, calibration, options.out)


if __name__ == "__main__":
    main()
