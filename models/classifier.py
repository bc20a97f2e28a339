"""Utterances with what was said before -> calibrated judgements."""

import json
import os
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from opencc import OpenCC
from tokenizers import Tokenizer

from models.call import KIND_OF_FORM, KINDS, Form, Judgement, Label
from models.errors import InvalidText, ModelNotFound, WrongModel
from models.weights import find_weights

_SETTING = "CALLAUDIT_CLASSIFIER"
COLLECTOR = "collector"
OUTPUTS = (*(kind.value for kind in KINDS), *(form.value for form in Form), COLLECTOR)
PREVIOUS_TURNS = 2
LONGEST_UTTERANCE = 80  # characters; a longer text is judged by its worst overlapping part
LONGEST_TEXT = 10_000
_OVERLAP = 20
_LONGEST_CONTEXT = 60
LONGEST_INPUT = 160  # tokens

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt scaling and threshold of every kind, both chosen on the dev split; saved beside the weights."""

    slope: dict[Label, float]
    offset: dict[Label, float]
    threshold: dict[Label, float]

    @classmethod
    def load(cls, file: Path) -> "Calibration":
        saved = json.loads(file.read_text("utf8"))
        return cls(*({kind: float(saved[part][kind]) for kind in KINDS} for part in ("slope", "offset", "threshold")))

    def save(self, file: Path) -> None:
        parts = {"slope": self.slope, "offset": self.offset, "threshold": self.threshold}
        file.write_text(json.dumps(parts, indent=1) + "\n", "utf8")

    def probability(self, kind: Label, logit: float) -> float:
        return float(_sigmoid(self.slope[kind] * logit + self.offset[kind]))


class Classifier:
    """A loaded classifier; safe to share between threads."""

    def __init__(self, model: str = "bundled/classifier", device: str = "auto", threads: int = 0) -> None:
        """`model`: bundled, a folder made by `callaudit train classifier`, or a name of the hub.

        Raises ModelNotFound, or WrongModel if the weights carry other labels than ours.
        """
        self.weights = find_weights(_SETTING, model, ("config.json", "tokenizer.json", "calibration.json"))
        folder = self.weights.folder
        self._outputs = _checked_outputs(folder)
        self._calibration = Calibration.load(folder / "calibration.json")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(LONGEST_INPUT, strategy="longest_first")
        self._tokenizer.enable_padding(pad_id=self._tokenizer.token_to_id("[PAD]") or 0)
        threads = threads or len(os.sched_getaffinity(0))
        on_gpu = device == "cuda" or (device == "auto" and _has_gpu())
        if (folder / "model.onnx").is_file() and not on_gpu:
            self._run = _onnx(folder / "model.onnx", threads)
        else:
            self._run = _torch(folder, "cuda" if on_gpu else "cpu")

    def __call__(
        self, texts: Sequence[str], previous: Sequence[Sequence[str]] | None = None, batch_size: int = 64
    ) -> list[Judgement]:
        """One judgement a text. `previous`: the turns before each text, oldest first; the last two are used.

        Raises InvalidText naming the first text that is empty or longer than 10,000 characters.
        """
        contexts = previous or [()] * len(texts)
        pairs: list[tuple[str, str]] = []
        owner: list[int] = []
        for index, (text, turns) in enumerate(zip(texts, contexts, strict=True)):
            context = "。".join(normalise(turn) for turn in turns[-PREVIOUS_TURNS:])[-_LONGEST_CONTEXT:]
            for part in _parts(_checked(text, index)):
                pairs.append((part, context))
                owner.append(index)
        worst = np.full((len(texts), len(OUTPUTS)), -np.inf, np.float32)
        np.maximum.at(worst, owner, self._logits(pairs, batch_size))
        return [self._judge(row) for row in worst]

    def _logits(self, pairs: Sequence[tuple[str, str]], batch_size: int) -> Logits:
        """(pairs, OUTPUTS). Batches of like length: int8 loses its advantage on padding."""
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        logits = np.empty((len(pairs), len(OUTPUTS)), np.float32)
        for begin in range(0, len(order), batch_size):
            chosen = order[begin : begin + batch_size]
            encoded = self._tokenizer.encode_batch([pairs[i] for i in chosen])
            inputs = {
                "input_ids": np.array([e.ids for e in encoded], np.int64),
                "attention_mask": np.array([e.attention_mask for e in encoded], np.int64),
                "token_type_ids": np.array([e.type_ids for e in encoded], np.int64),
            }
            logits[chosen] = self._run(inputs)[:, self._outputs]
        return logits

    def _judge(self, logits: Logits) -> Judgement:
        scores = {kind: self._calibration.probability(kind, logits[i]) for i, kind in enumerate(KINDS)}
        over = [kind for kind in KINDS if scores[kind] >= self._calibration.threshold[kind]]
        labels = tuple(sorted(over, key=lambda kind: -scores[kind]))
        return Judgement(
            label=labels[0] if labels else Label.COMPLIANT,
            labels=labels,
            scores=scores,
            forms=_forms(labels, logits),
            collector=float(_sigmoid(logits[-1])),
        )


def normalise(text: str) -> str:
    """NFKC, simplified characters, no control characters, spaces as commas."""
    plain = unicodedata.normalize("NFKC", text)
    plain = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in plain)
    return str(_simplify().convert("，".join(plain.split())))


def _checked(text: str, index: int) -> str:
    if len(text) > LONGEST_TEXT:
        raise InvalidText(f"text {index} has {len(text)} characters; send at most {LONGEST_TEXT}, better one utterance")
    plain = normalise(text)
    if not plain:
        raise InvalidText(f"text {index} is empty; send one utterance a text")
    return plain


def _parts(text: str) -> list[str]:
    step = LONGEST_UTTERANCE - _OVERLAP
    return [text[at : at + LONGEST_UTTERANCE] for at in range(0, max(1, len(text) - _OVERLAP), step)]


def _forms(labels: Sequence[Label], logits: Logits) -> tuple[Form, ...]:
    """Forms over one half, and the likeliest of each kind that holds: a finding always has one."""
    of_kind = {kind: [f for f in Form if KIND_OF_FORM[f] is kind] for kind in labels}
    score = dict(zip(Form, logits[len(KINDS) : len(KINDS) + len(Form)], strict=True))
    found = {max(forms, key=lambda form: score[form]) for forms in of_kind.values()}
    found |= {form for forms in of_kind.values() for form in forms if score[form] > 0}
    return tuple(form for form in Form if form in found)


def _checked_outputs(folder: Path) -> list[int]:
    labels = {label: int(i) for i, label in json.loads((folder / "config.json").read_text("utf8"))["id2label"].items()}
    missing = [name for name in OUTPUTS if name not in labels]
    if missing:
        raise WrongModel(str(folder), f"it has no output for {', '.join(missing)}; train one with callaudit")
    return [labels[name] for name in OUTPUTS]


def _onnx(file: Path, threads: int) -> Callable[[dict[str, NDArray[np.int64]]], Logits]:
    import onnxruntime  # noqa: PLC0415 - seconds to load, and not needed on a GPU

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False  # the arena never gives back what one long batch took
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelNotFound(_SETTING, str(file.parent), f"model.onnx cannot be loaded ({error})") from error
    return lambda inputs: session.run(None, inputs)[0]


def _torch(folder: Path, device: str) -> Callable[[dict[str, NDArray[np.int64]]], Logits]:
    import torch  # noqa: PLC0415 - seconds to load, and not needed with an exported model
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415

    try:
        model = AutoModelForSequenceClassification.from_pretrained(folder).to(device).eval()
    except (OSError, ValueError) as error:
        raise ModelNotFound(_SETTING, str(folder), f"transformers cannot load it ({error})") from error

    def run(inputs: dict[str, NDArray[np.int64]]) -> Logits:
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(array).to(device) for name, array in inputs.items()}).logits
        result: Logits = logits.float().cpu().numpy()
        return result

    return run


def _has_gpu() -> bool:
    import ctranslate2  # noqa: PLC0415 - knows without loading torch

    return bool(ctranslate2.get_cuda_device_count())


def _sigmoid(value: float | np.floating) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -60, 60))))


@lru_cache(maxsize=1)
def _simplify() -> OpenCC:
    return OpenCC("t2s")
