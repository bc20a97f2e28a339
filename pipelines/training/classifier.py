"""Corpus -> classifier: pre-trained by masked language modelling, fine-tuned with context, calibrated, exported."""

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from models.classifier import OUTPUTS, Calibration, Classifier, normalise
from models.encoding import LONGEST_INPUT, Encoding
from pipelines.training.calibration import calibrate, calibration_pairs, logits_and_rows
from pipelines.training.dataset import CORPUS, Row, read_folder
from pipelines.training.denormals import flushed_denormals
from pipelines.training.examples import as_heard, pair_of
from pipelines.training.export_classifier import export, weigh
from pipelines.training.fine_tuning import FineTuning, fine_tune
from pipelines.training.measures import THREAT_PRECISION
from pipelines.training.new_file import file_written_whole
from pipelines.training.ngram_weights import beside
from pipelines.training.noise import Misheard, coarse, syllable
from pipelines.training.texts import ordinary_talk, pretraining_pairs

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
HEAD: dict[str, Any] = {
    "problem_type": "multi_label_classification",
    "num_labels": len(OUTPUTS),
    "id2label": dict(enumerate(OUTPUTS)),
    "label2id": {name: i for i, name in enumerate(OUTPUTS)},
}


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
        attention_probs_dropout_prob=0.0,
        attn_implementation="sdpa",
        **HEAD,
    )


@flushed_denormals()
def pretrain(
    pairs: list[tuple[str, str]], tokenizer: Tokenizer, misheard: Misheard, options: argparse.Namespace
) -> None:
    """Masked language modelling over (utterance, turns before); part of the masks are homophones instead.

    Writes the weights to `options.pretrained` and the tokenizer beside them, now and then and at the end.
    """
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    chooser = random.Random(options.seed)
    model = _masked_model(tokenizer, dropout=0.0)
    if options.resume:
        model.load_state_dict(torch.load(options.pretrained, weights_only=True))
    encode = Encoding(tokenizer, model.config.to_dict())
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=0.01)
    began = time.monotonic()
    sums, step = Counter[str](), 0
    for batch in _batches(pairs, options.batch, chooser):
        spent = (time.monotonic() - began) / 60 / options.minutes
        if spent >= 1:
            break
        arrays = encode([(text, turn if chooser.random() < 0.3 else "") for text, turn in batch])
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
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
            _keep(model, tokenizer, options.pretrained)
    _keep(model, tokenizer, options.pretrained)


def _keep(model: nn.Module, tokenizer: Tokenizer, pretrained: Path) -> None:
    """Tokenizer and weights together, so that a run that ends early leaves those of the run before."""
    with file_written_whole(pretrained) as weights, file_written_whole(_tokenizer_of(pretrained)) as entries:
        torch.save(model.state_dict(), weights)
        tokenizer.save(str(entries))


def _masked_model(tokenizer: Tokenizer, dropout: float = 0.1) -> BertForMaskedLM:
    entries = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    config = configuration(len(entries))
    config.hidden_dropout_prob = dropout
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


def pieces(text: str, turn: str, longest: int = 40) -> Iterator[tuple[str, str]]:
    """A long text as utterances of a call's length, each with the one before it: steps are many and short."""
    piece = ""
    for clause in re.findall(r"[^，。？！；]+[，。？！；]*", text):
        if piece and len(piece) + len(clause) > longest:
            yield piece, turn[-longest:]
            piece, turn = "", piece
        piece += clause[:longest]
    if piece:
        yield piece, turn[-longest:]


def fresh(tokenizer: Tokenizer, pretrained: Path | None = None, dropout: float = 0.0) -> BertForSequenceClassification:
    """An encoder with a new head, whose outputs are OUTPUTS: the project's own, or of a folder, whose head is kept.

    `dropout` is that of a folder's encoder.
    """
    if pretrained and pretrained.is_dir():
        return BertForSequenceClassification.from_pretrained(
            pretrained, dtype=torch.float32, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **HEAD
        )
    masked = _masked_model(tokenizer)
    if pretrained:
        masked.load_state_dict(torch.load(pretrained, weights_only=True))
    model = BertForSequenceClassification(masked.config)
    model.bert.embeddings.word_embeddings = masked.bert.embeddings.word_embeddings
    model.bert.load_state_dict(masked.bert.state_dict(), strict=False)
    return model


def average(model: BertForSequenceClassification, others: Sequence[Path]) -> None:
    """The mean of its weights and of other folders', in place: trained from one beginning by other seeds and rows, they
    generalise better together (arXiv 2203.05482).
    """
    mean = model.state_dict()
    for folder in others:
        other = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **HEAD).state_dict()
        mean = {name: value + other[name] for name, value in mean.items()}
    model.load_state_dict({name: value / (1 + len(others)) for name, value in mean.items()})


def fold(model: BertForSequenceClassification) -> None:
    """The pinyin-aware embedding becomes an ordinary one, so that transformers can load it."""
    embedding = model.bert.embeddings.word_embeddings
    if isinstance(embedding, PinyinEmbedding):
        folded = embedding.folded().cpu()
        model.bert.embeddings.word_embeddings = nn.Embedding.from_pretrained(folded, padding_idx=PAD)


def _tokenizer_of(pretrained: Path) -> Path:
    return pretrained / "tokenizer.json" if pretrained.is_dir() else pretrained.with_suffix(".json")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["pretrain", "fine-tune", "weigh"], help="weigh: n-grams and calibration")
    parser.add_argument("--reference", type=Path, required=True, help="folder of reference data")
    parser.add_argument(
        "--pretrained",
        type=Path,
        help="weights that pretrain writes; fine-tune takes a folder too, exported or of public_encoder",
    )
    parser.add_argument(
        "--averaged-with",
        type=Path,
        nargs="*",
        default=[],
        help="folders whose weights' mean with --pretrained fine-tune begins with; with --epochs 0 it exports the mean",
    )
    parser.add_argument("--resume", action="store_true", help="pre-train on from what --pretrained holds")
    parser.add_argument("--heard", type=Path, help="JSON: text -> what the recogniser made of it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.0, help="in a folder's encoder")
    parser.add_argument("--adversarial", type=float, default=0.0, help="step of the word embeddings; see fine_tuning")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--plain", type=int, help="compliant rows an epoch that resemble no abuse; default: all")
    parser.add_argument("--ordinary", type=int, default=2_500, help="rows of ordinary talk among the compliant ones")
    parser.add_argument("--grammar", type=float, default=1.0, help="share of the grammar's rows that is trained on")
    parser.add_argument("--threat-precision", type=float, default=THREAT_PRECISION)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    needed = "pretrained" if options.stage == "pretrain" else "out"
    if getattr(options, needed) is None:
        parser.error(f"{options.stage} needs --{needed}")
    return options


def main() -> None:
    options = _arguments()
    rows = read_folder(CORPUS)
    trained_on = [row for row in rows if row.split == "train"]
    saved_tokenizer = _tokenizer_of(options.pretrained) if options.pretrained else None
    made_before = saved_tokenizer if options.stage != "pretrain" or options.resume else None
    general = pretraining_pairs(options.reference) if options.stage == "pretrain" or made_before is None else []
    if made_before:
        tokenizer = Tokenizer.from_file(str(made_before))
        entries = dict(sorted(tokenizer.get_vocab().items(), key=itemgetter(1)))
        characters = [entry for entry in entries if len(entry) == 1]
    else:
        counts = Counter("".join(text for text, _ in general))
        counts.update("".join(row.text for row in trained_on) * 5)
        characters = [c for c, n in counts.most_common() if n >= 4 and len(c) == 1 and not c.isspace()]
        tokenizer = character_tokenizer(characters)
    misheard = Misheard([c for c in characters if "一" <= c <= "鿿"])
    if options.stage == "pretrain":
        pairs = [piece for text, turn in general for piece in pieces(normalise(text), normalise(turn))]
        pairs += [pair_of(row.text, row.previous) for row in trained_on] * 5
        pretrain(pairs, tokenizer, misheard, options)
        return
    chooser = random.Random(options.seed)
    trained_on = [row for row in trained_on if row.source != "grammar" or chooser.random() < options.grammar]
    talk = chooser.sample(ordinary_talk(options.reference), options.ordinary)
    trained_on += [Row("ordinary", "train", "", t, (p,) if p else (), (), (), False, "ordinary") for t, p in talk]
    heard = json.loads(options.heard.read_text("utf8")) if options.heard else {}
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    shown = as_heard(heard, misheard)
    dev = [row for row in rows if row.split == "dev"]
    asked = calibration_pairs(dev, heard, misheard)

    def calibrated(served: Classifier) -> Calibration:
        return calibrate(*logits_and_rows(served, asked, dev), options.threat_precision)

    ngrams = beside(trained_on, shown, asked, dev, options.seed)
    if options.stage == "weigh":
        weigh(options.out, calibrated, ngrams)
        return
    model = fresh(tokenizer, options.pretrained, options.dropout)
    average(model, options.averaged_with)
    fine_tune(
        model,
        Encoding(tokenizer, model.config.to_dict()),
        trained_on,
        shown=shown,
        options=FineTuning(
            epochs=options.epochs,
            rate=options.rate,
            batch=options.batch,
            seed=options.seed,
            precision=options.precision,
            adversarial=options.adversarial,
            plain=options.plain,
        ),
        watch=lambda step: print(f"fine-tune step {step.done}/{step.steps} loss {step.loss:.4f}", flush=True),
    )
    fold(model)
    export(model, tokenizer, options.out, calibrated=calibrated, sample=asked[:64], ngrams=ngrams)


if __name__ == "__main__":
    main()
