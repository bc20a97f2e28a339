"""Utterances with what was said before -> calibrated judgements."""

import hashlib
import inspect
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.call import KIND_OF_FORM, KINDS, Form, Judgement, Label
from models.encoding import INPUTS, Arrays, Encoding
from models.errors import InvalidText, ModelNotFound, WrongModel
from models.ngrams import Ngrams
from models.onnx_model import OnnxModel
from models.simplified import simplified
from models.spoken_numbers import spoken_numbers
from models.weights import find_weights

_SETTING = "CALLAUDIT_CLASSIFIER"
COLLECTOR = "collector"
OUTPUTS = (*(kind.value for kind in KINDS), *(form.value for form in Form), COLLECTOR)
PREVIOUS_TURNS = 2
LONGEST_UTTERANCE = 80  # characters; a longer text is judged by its worst overlapping part
LONGEST_TEXT = 10_000
_OVERLAP = 20
_LONGEST_CONTEXT = 60
_ONNX_BATCH = 8  # the fastest of 2 to 128; see tests.benchmarks.classifier
_TORCH_BATCH = 64
NGRAMS = "ngrams.npz"  # beside a small encoder's weights; a large one needs none
TOKENIZER_SHA256 = "tokenizer_sha256"  # in config.json: the tokenizer that the weights were trained with

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

        Raises ModelNotFound, or WrongModel if the weights carry other labels than ours or another tokenizer.
        """
        self.weights = find_weights(_SETTING, model, ("config.json", "tokenizer.json", "calibration.json"))
        folder = self.weights.folder
        config = json.loads((folder / "config.json").read_text("utf8"))
        self._outputs = _checked_outputs(folder, config)
        self._calibration = Calibration.load(folder / "calibration.json")
        self._encode = Encoding(_checked_tokenizer(folder, config), config)
        self._ngrams = Ngrams.load(folder / NGRAMS) if (folder / NGRAMS).is_file() else None
        on_gpu = device == "cuda" or (device == "auto" and _has_gpu())
        if (folder / "model.onnx").is_file() and not on_gpu:
            self._encoder: OnnxModel | _TorchModel = OnnxModel(folder / "model.onnx", _SETTING, str(folder), threads)
            self._batch = _ONNX_BATCH
        else:
            self._encoder = _TorchModel(folder, "cuda" if on_gpu else "cpu")
            self._batch = _TORCH_BATCH

    def __call__(self, texts: Sequence[str], previous: Sequence[Sequence[str]] | None = None) -> list[Judgement]:
        """One judgement a text. `previous`: the turns before each text, oldest first; the last two are used.

        Raises InvalidText naming the first text that is empty or longer than 10,000 characters.
        """
        return [self._judge(row) for row in self.logits(texts, previous)]

    @property
    def weights_sha256(self) -> str:
        """Of model.safetensors, or where there is none of model.onnx, and of n-grams if it has them."""
        files = [self.weights.folder / name for name in ("model.safetensors", "model.onnx", NGRAMS)]
        weights = next((file for file in files[:2] if file.is_file()), None)
        if weights is None:
            return "unknown"
        digest = hashlib.sha256(weights.read_bytes())
        if files[2].is_file():
            digest.update(files[2].read_bytes())
        return digest.hexdigest()

    def logits(self, texts: Sequence[str], previous: Sequence[Sequence[str]] | None = None) -> Logits:
        """(texts, OUTPUTS), not calibrated; of a long text the highest of its parts. Raises as __call__ does."""
        contexts = previous or [()] * len(texts)
        pairs: list[tuple[str, str]] = []
        owner: list[int] = []
        for index, (text, turns) in enumerate(zip(texts, contexts, strict=True)):
            context = context_of(turns)
            for part in _parts(_checked(text, index)):
                pairs.append((part, context))
                owner.append(index)
        worst = np.full((len(texts), len(OUTPUTS)), -np.inf, np.float32)
        np.maximum.at(worst, owner, self._logits(pairs))
        return worst

    def _logits(self, pairs: Sequence[tuple[str, str]]) -> Logits:
        """(pairs, OUTPUTS). Batches of like length: int8 loses its advantage on padding."""
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
        batches = [order[begin : begin + self._batch] for begin in range(0, len(order), self._batch)]
        logits = np.empty((len(pairs), len(OUTPUTS)), np.float32)
        said = self._encoder.map(lambda chosen: self._encode([pairs[i] for i in chosen]), batches)
        for chosen, found in zip(batches, said, strict=True):
            logits[chosen] = found[:, self._outputs]
        return self._ngrams.blended(logits, pairs) if self._ngrams else logits

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
    """NFKC, simplified characters, numbers as spoken, spaces as commas; no control or invisible characters."""
    plain = unicodedata.normalize("NFKC", text)
    plain = "".join(c for c in plain if c.isspace() or unicodedata.category(c)[0] != "C")
    return spoken_numbers(simplified("，".join(plain.split())))


def context_of(turns: Sequence[str]) -> str:
    """The end of what was said before, as the model gets it."""
    return "。".join(normalise(turn) for turn in turns[-PREVIOUS_TURNS:])[-_LONGEST_CONTEXT:]


def _checked(text: str, index: int) -> str:
    plain = normalise(text) if len(text) <= LONGEST_TEXT else ""
    length = max(len(text), len(plain))  # one character may stand for a whole phrase
    if length > LONGEST_TEXT:
        raise InvalidText(f"text {index} has {length} characters; send at most {LONGEST_TEXT}, better one utterance")
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


def _checked_outputs(folder: Path, config: dict[str, Any]) -> list[int]:
    labels = {label: int(i) for i, label in config.get("id2label", {}).items()}
    missing = [name for name in OUTPUTS if name not in labels]
    if missing:
        raise WrongModel(str(folder), f"it has no output for {', '.join(missing)}; train one with callaudit")
    return [labels[name] for name in OUTPUTS]


def _checked_tokenizer(folder: Path, config: dict[str, Any]) -> Tokenizer:
    file = folder / "tokenizer.json"
    recorded = config.get(TOKENIZER_SHA256)
    if recorded and recorded != hashlib.sha256(file.read_bytes()).hexdigest():
        raise WrongModel(
            str(folder), "its tokenizer.json is not the one its weights were trained with; restore it, or train again"
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise WrongModel(str(folder), f"its tokenizer.json cannot be read ({error})") from error
    entries, rows = tokenizer.get_vocab_size(), int(config.get("vocab_size", 0))
    # Some encoders round their embedding up; where the tokenizer is known to be theirs, that is no contradiction.
    if entries > rows or (entries < rows and not recorded):
        raise WrongModel(
            str(folder), f"its tokenizer has {entries} entries and its weights {rows}; they are not of one model"
        )
    return tokenizer


class _TorchModel:
    """Weights of any family of transformers."""

    def __init__(self, folder: Path, device: str) -> None:
        """Raises ModelNotFound."""
        from transformers import AutoModelForSequenceClassification  # noqa: PLC0415 - seconds to load

        try:
            model = AutoModelForSequenceClassification.from_pretrained(folder).to(device).eval()
        except (OSError, ValueError, RuntimeError, AssertionError) as error:  # the last: a torch built without CUDA
            raise ModelNotFound(_SETTING, str(folder), f"transformers cannot load it on {device} ({error})") from error
        self._model = model.float() if device == "cpu" else model  # half precision is for disks and GPUs
        self._device, self._inputs = device, inputs_taken(model.forward)

    def map(self, arrays_of: Callable[[list[int]], Arrays], batches: Iterable[list[int]]) -> Iterator[Logits]:
        import torch  # noqa: PLC0415 - as above, and not needed with an exported model

        for arrays in map(arrays_of, batches):
            with torch.inference_mode():
                inputs = {name: torch.from_numpy(arrays[name]).to(self._device) for name in self._inputs}
                logits = self._model(**inputs).logits
            yield logits.float().cpu().numpy()


def inputs_taken(forward: Callable[..., Any]) -> list[str]:
    """Which of INPUTS a model's forward knows: not all families have segments."""
    known = inspect.signature(forward).parameters
    return [name for name in INPUTS if name in known]


def _has_gpu() -> bool:
    import ctranslate2  # noqa: PLC0415 - knows without loading torch

    if not ctranslate2.get_cuda_device_count():
        return False
    import torch  # noqa: PLC0415

    return torch.cuda.is_available()  # a torch built for CPUs sees no GPU


def _sigmoid(value: float | np.floating) -> float:
    return float(1 / (1 + np.exp(-np.clip(value, -60, 60))))
