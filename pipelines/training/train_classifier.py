"""Any encoder and labelled utterances -> a classifier that the service loads, with its card."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from models.call import KINDS
from models.classifier import OUTPUTS, normalise
from models.encoding import Encoding
from models.errors import WrongModel
from models.weights import find_weights
from pipelines.training.calibration import calibrate, calibration_pairs, logits_and_rows
from pipelines.training.classifier import HEAD, character_tokenizer, fold, fresh
from pipelines.training.dataset import BadData, Row, fingerprint, with_dev
from pipelines.training.examples import as_heard
from pipelines.training.export_classifier import export
from pipelines.training.fine_tuning import FineTuning, Step, fine_tune
from pipelines.training.measures import THREAT_PRECISION
from pipelines.training.ngram_weights import beside
from pipelines.training.noise import Misheard, frequent_characters

SCRATCH = "scratch"
CHECKPOINT = "checkpoint.pt"


class AlreadyTrained(Exception):
    def __init__(self, out: Path) -> None:
        super().__init__(f"{out} holds a finished classifier; choose another --out, or delete it")


@dataclass(frozen=True, slots=True)
class _Base:
    model: Any  # of transformers, with our outputs
    tokenizer: Tokenizer
    sha256: str


def train_classifier(
    base: str,
    rows: Sequence[Row],
    out: Path,
    *,
    options: FineTuning,
    watch: Callable[[Step], None],
    heard: Mapping[str, Sequence[str]] | None = None,
    device: str = "auto",
    threat_precision: float = THREAT_PRECISION,
) -> None:
    """`base`: scratch for the project's own encoder, else a name of the hub or a folder with its tokenizer.

    A killed run goes on from its last checkpoint in `out` when it is started again with the same arguments. Raises
    BadData, WrongModel, ModelNotFound, OtherRun or AlreadyTrained.
    """
    if (out / "calibration.json").is_file():
        raise AlreadyTrained(out)
    rows, heard = with_dev(rows), heard or {}
    train, dev = ([row for row in rows if row.split == split] for split in ("train", "dev"))
    _check(train, dev)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    started = _scratch(train) if base == SCRATCH else _pretrained(base)
    said = [normalise(row.text) for row in train]
    misheard = Misheard(frequent_characters(said))
    data = fingerprint(rows)
    shown = as_heard(heard, misheard)
    fine_tune(
        started.model,
        Encoding(started.tokenizer, started.model.config.to_dict()),
        train,
        shown=shown,
        options=options,
        watch=watch,
        device=_device(device),
        checkpoint=out / CHECKPOINT,
        run=f"{base} {started.sha256} {data} {_hash(repr(sorted(heard.items())))}",
    )
    if base == SCRATCH:
        fold(started.model)
    pairs = calibration_pairs(dev, heard, misheard)
    export(
        started.model,
        started.tokenizer,
        out,
        calibrated=lambda served: calibrate(*logits_and_rows(served, pairs, dev), threat_precision),
        sample=pairs[:64],
        ngrams=beside(train, shown, pairs, dev, options.seed) if base == SCRATCH else None,
        card={
            "version": data[:12],
            "what": f"{type(started.model).__name__}; three kinds, their forms and the speaker's role, from an "
            "utterance and the two turns before it; int8 ONNX where it agrees with the weights, and half precision",
            "base": "the project's own encoder, not pre-trained" if base == SCRATCH else base,
            "made_by": "callaudit train classifier",
            "trained_on": f"{len(train)} utterances, calibrated on {len(dev)}",
            "data_sha256": data,
            "labels": list(OUTPUTS),
            "options": asdict(options),
            "not_fit_for": "judging anybody unheard",
        },
    )
    (out / CHECKPOINT).unlink(missing_ok=True)


def _check(train: Sequence[Row], dev: Sequence[Row]) -> None:
    """Before hours of training, what would fail after them."""
    if not dev:
        raise BadData(
            "no rows to choose thresholds on: give some the split dev, or more scenarios, of which one in ten is taken"
        )
    for name, part in (("train", train), ("dev", dev)):
        for kind in KINDS:
            held = sum(kind in row.labels for row in part)
            if held in (0, len(part)):
                raise BadData(f"{held} of {len(part)} {name} rows are labelled {kind}: add rows with and without it")


def _scratch(train: Sequence[Row]) -> _Base:
    spoken = "".join(normalise(turn) for row in train for turn in (row.text, *row.previous))
    counts = Counter(spoken)
    tokenizer = character_tokenizer([c for c, times in counts.most_common() if times > 1])
    return _Base(fresh(tokenizer), tokenizer, _hash(tokenizer.to_str()))


def _pretrained(base: str) -> _Base:
    weights = find_weights("--base", base, ("config.json",))
    transformers_logging.set_verbosity_error()  # a new head is what we want
    transformers_logging.disable_progress_bar()
    tokenizer = _tokenizer(base, weights.folder)
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            weights.folder,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            **HEAD,
        )
    except (OSError, ValueError, KeyError) as error:
        raise WrongModel(base, f"transformers cannot fine-tune it ({error})") from error
    entries, known = tokenizer.get_vocab_size(), model.get_input_embeddings().num_embeddings
    if entries > known:
        raise WrongModel(
            base, f"its tokenizer has {entries} entries and its weights {known}; they are not of one model"
        )
    return _Base(model, tokenizer, weights.sha256)


def _tokenizer(base: str, folder: Path) -> Tokenizer:
    if (folder / "tokenizer.json").is_file():
        try:
            return Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise WrongModel(base, f"its tokenizer.json cannot be read ({error})") from error
    try:
        loaded = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise WrongModel(base, f"its tokenizer cannot be loaded ({error})") from error
    tokenizer = getattr(loaded, "backend_tokenizer", None)
    if tokenizer is None:
        raise WrongModel(base, "its tokenizer has no fast form; convert it to a tokenizer.json first")
    return Tokenizer.from_str(tokenizer.to_str())


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
