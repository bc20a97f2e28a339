"""Fine-tuned classifier -> the folder that models.classifier loads."""

import hashlib
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from models.call import KINDS
from models.classifier import NGRAMS, TOKENIZER_SHA256, Calibration, Classifier, inputs_taken
from models.encoding import Encoding
from models.ngrams import Ngrams

_AS_IT_COMES = Calibration(dict.fromkeys(KINDS, 1.0), dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.5))
_FARTHEST = 0.5  # mean distance of logits at which int8 says something else than the weights


def export(
    model: Any,
    tokenizer: Tokenizer,
    out: Path,
    *,
    calibrated: Callable[[Classifier], Calibration],
    sample: Sequence[tuple[str, str]],
    card: Mapping[str, Any] | None = None,
    ngrams: Callable[[Classifier], Ngrams] | None = None,
) -> None:
    """Half-precision weights, and for CPUs an int8 copy if it says the same.

    `model`: of transformers, in evaluation mode. `ngrams` is given the encoder alone as it will be served and gives
    what stands beside it; `calibrated` is then given the two. `sample`: pairs of text and context on which int8 is
    compared. The folder is complete or it lacks calibration.json.
    """
    out.mkdir(parents=True, exist_ok=True)
    transformers_logging.disable_progress_bar()
    model = model.float().cpu().eval()
    with tempfile.TemporaryDirectory(dir=out, prefix="unfinished-") as unfinished:
        folder = Path(unfinished)
        tokenizer.save(str(folder / "tokenizer.json"))
        setattr(model.config, TOKENIZER_SHA256, hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest())
        if not _export_int8(model, Encoding(tokenizer, model.config.to_dict()), sample, folder / "model.onnx"):
            (folder / "model.onnx").unlink(missing_ok=True)
        model.half().save_pretrained(folder)
        _weigh(folder, calibrated, ngrams)
        if card is not None:
            (folder / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf8")
        for stale in ("calibration.json", "model.onnx", NGRAMS):
            (out / stale).unlink(missing_ok=True)
        for file in sorted(folder.iterdir(), key=lambda file: file.name == "calibration.json"):
            file.chmod(0o644)  # safetensors makes its files unreadable to others
            file.replace(out / file.name)


def weigh(
    folder: Path,
    calibrated: Callable[[Classifier], Calibration],
    ngrams: Callable[[Classifier], Ngrams] | None,
) -> None:
    """Put n-grams beside the encoder in `folder`, if it is to have any, and calibrate what is served.

    The folder stays as it is until both are ready; then it is complete or it lacks calibration.json.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="unfinished-") as unfinished:
        copy = Path(unfinished)
        for file in folder.iterdir():
            if file.is_file():
                shutil.copy(file, copy)
        _weigh(copy, calibrated, ngrams)
        for stale in ("calibration.json", NGRAMS):
            (folder / stale).unlink(missing_ok=True)
        for name in (NGRAMS, "calibration.json"):
            if (copy / name).is_file():
                (copy / name).replace(folder / name)


def _weigh(
    folder: Path,
    calibrated: Callable[[Classifier], Calibration],
    ngrams: Callable[[Classifier], Ngrams] | None,
) -> None:
    (folder / NGRAMS).unlink(missing_ok=True)
    _AS_IT_COMES.save(folder / "calibration.json")
    if ngrams is not None:
        ngrams(Classifier(str(folder), device="cpu")).save(folder / NGRAMS)
    calibrated(Classifier(str(folder), device="cpu")).save(folder / "calibration.json")


def _export_int8(model: Any, encode: Encoding, sample: Sequence[tuple[str, str]], file: Path) -> bool:
    """Whether it was written and agrees with the weights."""
    model.set_attn_implementation("eager")  # fused attention is traced to a twelfth more of work
    names = inputs_taken(model.forward)
    arrays = encode(sample)
    inputs = tuple(torch.from_numpy(arrays[name]) for name in names)
    axes = {name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}}
    with tempfile.TemporaryDirectory() as folder, _quietly():
        exact = Path(folder) / "exact.onnx"
        try:
            torch.onnx.export(
                _Logits(model, names), inputs, exact, input_names=names, output_names=["logits"], dynamic_axes=axes,
                dynamo=False,
            )  # fmt: skip
            quantize_dynamic(exact, file, weight_type=QuantType.QInt8, per_channel=True)
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, NotImplementedError):
            return False  # some families cannot be traced; they are served from their weights
    with torch.inference_mode():
        expected = _Logits(model, names)(*inputs).numpy()
    return bool(np.abs(expected - _logits_of(file, names, arrays)).mean() < _FARTHEST)


@contextmanager
def _quietly() -> Iterator[None]:
    """Tracing warns of every shape it sees, and quantising of what we do on purpose."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _logits_of(file: Path, names: Sequence[str], arrays: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    import onnxruntime  # noqa: PLC0415 - its session keeps the file open, which must end before the file is moved

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(None, {name: arrays[name] for name in names})[0]
    return result


class _Logits(nn.Module):
    """The model with its inputs in a fixed order and one output, as an exported graph wants it."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits
