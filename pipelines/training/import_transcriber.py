"""Exported CTranslate2 folder -> weights to train on from: what int8 lost, a few steps bring back.

The file's layout is that of CTranslate2 4.8, binary version 6: python/ctranslate2/specs/model_spec.py, `serialize`.
"""

import json
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.training.recogniser import SPECIAL, Recogniser, Vocabulary

_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
# part of a layer in CTranslate2: (fused projections in order of rows) as transformers name them
_SELF = {"linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "linear_1": ("self_attn.out_proj",)}
_CROSS = {
    "linear_0": ("encoder_attn.q_proj",),
    "linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "linear_2": ("encoder_attn.out_proj",),
}
_FEED_FORWARD = {"linear_0": ("fc1",), "linear_1": ("fc2",)}


def restore(model: Recogniser, vocabulary: Vocabulary, folder: Path) -> None:
    """Set `model.whisper` to what `export` wrote; the heads that only training uses stay as they are.

    Raises KeyError if the folder holds another architecture.
    """
    with (folder / "model.bin").open("rb") as file:
        saved = _read(file)
    state: dict[str, Tensor] = {}
    for side in ("encoder", "decoder"):
        layers = model.whisper.config.encoder_layers if side == "encoder" else model.whisper.config.decoder_layers
        for number in range(layers):
            theirs, ours = f"{side}/layer_{number}", f"model.{side}.layers.{number}"
            _block(state, saved, (f"{theirs}/self_attention", ours), _SELF, "self_attn_layer_norm")
            if side == "decoder":
                _block(state, saved, (f"{theirs}/attention", ours), _CROSS, "encoder_attn_layer_norm")
            _block(state, saved, (f"{theirs}/ffn", ours), _FEED_FORWARD, "final_layer_norm")
        _norm(state, saved, f"{side}/layer_norm", f"model.{side}.layer_norm")
        positions = _weight(saved, f"{side}/position_encodings/encodings")
        state[f"model.{side}.embed_positions.weight"] = positions
    for name in ("conv1", "conv2"):
        state[f"model.encoder.{name}.weight"] = _weight(saved, f"encoder/{name}/weight")
        state[f"model.encoder.{name}.bias"] = _weight(saved, f"encoder/{name}/bias")
    entries = json.loads((folder / "vocabulary.json").read_text("utf8"))
    place = {entry: i for i, entry in enumerate(entries)}
    embedding = _weight(saved, "decoder/embeddings/weight")[[place[e] for e in (*SPECIAL, *vocabulary.characters)]]
    state["model.decoder.embed_tokens.weight"] = state["proj_out.weight"] = embedding
    model.whisper.load_state_dict(state)


def _read(file: BinaryIO) -> dict[str, NDArray[np.generic]]:
    def numbers(form: str) -> tuple[int, ...]:
        return struct.unpack(form, file.read(struct.calcsize(form)))

    def text() -> str:
        (length,) = numbers("H")
        return file.read(length)[:-1].decode()

    numbers("I")
    text()
    numbers("I")
    (count,) = numbers("I")
    saved = {}
    for _ in range(count):
        name = text()
        (rank,) = numbers("B")
        shape = numbers("I" * rank)
        kind, size = numbers("=BI")
        saved[name] = np.frombuffer(file.read(size), _TYPES[kind]).reshape(shape)
    return saved


def _weight(saved: dict[str, NDArray[np.generic]], name: str) -> Tensor:
    values = saved[name].astype(np.float32)
    if saved[name].dtype == np.int8:
        values /= saved[f"{name}_scale"].astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    return torch.from_numpy(values)


def _norm(state: dict[str, Tensor], saved: dict[str, NDArray[np.generic]], theirs: str, ours: str) -> None:
    state[f"{ours}.weight"], state[f"{ours}.bias"] = _weight(saved, f"{theirs}/gamma"), _weight(saved, f"{theirs}/beta")


def _block(
    state: dict[str, Tensor],
    saved: dict[str, NDArray[np.generic]],
    places: tuple[str, str],
    projections: dict[str, tuple[str, ...]],
    norm: str,
) -> None:
    theirs, ours = places
    _norm(state, saved, f"{theirs}/layer_norm", f"{ours}.{norm}")
    for linear, names in projections.items():
        weights = _weight(saved, f"{theirs}/{linear}/weight").chunk(len(names))
        biases = _weight(saved, f"{theirs}/{linear}/bias").chunk(len(names))
        for name, weight, bias in zip(names, weights, biases, strict=True):
            state[f"{ours}.{name}.weight"] = weight
            if not name.endswith("k_proj"):  # Whisper's keys have no bias
                state[f"{ours}.{name}.bias"] = bias
