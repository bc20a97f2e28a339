"""A Whisper of transformers and the user's own clips -> the same, fine-tuned, as a CTranslate2 folder.

Trains on what serves: the features of faster-whisper, windows padded to 30 s, no timestamps, no words before.
"""

import json
import random
import tempfile
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ctranslate2.converters import TransformersConverter
from faster_whisper.feature_extractor import FeatureExtractor
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, WhisperForConditionalGeneration

from models.call import SAMPLE_RATE
from pipelines.training.manifest import BadManifest, Clips, cut, discard
from pipelines.training.new_file import file_written_whole
from pipelines.training.new_folder import check_free, written_whole

_FRAMES = 3_000
_PROMPT = ("<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>")
_END = "<|endoftext|>"
_CHECKPOINT = "checkpoint.pt"

Told = Callable[[str, float], None]  # hears what is done and which share of it


class CannotTrain(Exception):
    """The message says what is wrong with the base model and what to do."""


@dataclass(frozen=True, slots=True)
class FineTuning:
    epochs: int = 3
    batch_size: int = 8
    accumulate: int = 2  # batches a step
    learning_rate: float = 1e-5
    warmup_share: float = 0.1  # of all steps; after it the rate falls to 0
    held_out_share: float = 0.05  # of the clips, to measure on
    freeze_encoder: bool = False  # less memory, and less to learn of the sound
    checkpoint_every: int = 100  # steps
    device: str = "auto"
    quantization: str = "default"  # of the folder that is written: float16 on a GPU, int8 on a CPU
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """Saved beside the weights."""

    version: str
    base: str
    data_sha256: str
    clips: int
    hours: float
    steps: int
    held_out_loss_before: float | None
    held_out_loss_after: float | None
    options: dict[str, Any]


def fine_tune(
    base: str, manifest: Path, out: Path, options: FineTuning | None = None, told: Told | None = None
) -> Card:
    """Writes a folder for CALLAUDIT_ASR_MODEL; killed and started again with the same options, it goes on.

    Raises BadManifest, OutTaken before anything is read, or CannotTrain if the base is no multilingual Whisper.
    """
    check_free(out)
    chosen, tell = options or FineTuning(), told or (lambda _, __: None)
    work = out.with_name(out.name + ".work")
    clips = cut(manifest, work, lambda share: tell("reading", share))
    device = _device(chosen.device)
    torch.manual_seed(chosen.seed)
    model, tokenizer = _load(base)
    model.to(device)
    if chosen.freeze_encoder:
        model.model.encoder.requires_grad_(False)
    feed = _Feed(clips, tokenizer, model.config.num_mel_bins, model.config.max_target_positions, device)
    training = _Training(
        model,
        feed,
        parts=_divided(len(clips), chosen),
        options=chosen,
        checkpoint=work / _CHECKPOINT,
        identity=[base, clips.sha256],
        device=device,
    )
    training.run(tell)
    card = Card(
        version=clips.sha256[:8],
        base=base,
        data_sha256=clips.sha256,
        clips=len(clips),
        hours=round(clips.seconds / 3600, 3),
        steps=training.step,
        held_out_loss_before=training.before,
        held_out_loss_after=training.held_out_loss(),
        options={name: value for name, value in asdict(chosen).items() if name != "device"},
    )
    with written_whole(out) as folder:
        export(model, tokenizer, folder, _quantization(chosen.quantization, device))
        (folder / "card.json").write_text(json.dumps(asdict(card), indent=1, ensure_ascii=False) + "\n", "utf8")
    discard(work)
    (work / _CHECKPOINT).unlink(missing_ok=True)
    with suppress(OSError):  # somebody keeps something else there
        work.rmdir()
    return card


def export(
    model: WhisperForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, out: Path, quantization: str
) -> None:
    """`out` must not exist."""
    with tempfile.TemporaryDirectory() as folder:
        model.float().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        TransformersConverter(folder, copy_files=["tokenizer.json"]).convert(str(out), quantization=quantization)
    features = {"feature_size": model.config.num_mel_bins, "sampling_rate": SAMPLE_RATE}
    (out / "preprocessor_config.json").write_text(json.dumps(features) + "\n", "utf8")


class _Feed:
    """Clips as the model takes them."""

    def __init__(
        self, clips: Clips, tokenizer: PreTrainedTokenizerBase, mels: int, longest: int, device: torch.device
    ) -> None:
        self._clips, self._longest, self._device = clips, longest, device
        self._features = FeatureExtractor(feature_size=mels)
        prompt = [tokenizer.convert_tokens_to_ids(token) for token in _PROMPT]
        end = tokenizer.convert_tokens_to_ids(_END)
        self._tokens = [[*prompt, *tokenizer.encode(text, add_special_tokens=False), end] for text in clips.texts]
        for text, tokens in zip(clips.texts, self._tokens, strict=True):
            if len(tokens) > longest:
                raise BadManifest(f"a clip's text has {len(tokens)} tokens, the model takes {longest}: {text[:20]}…")

    def __call__(self, chosen: list[int]) -> tuple[Tensor, Tensor]:
        """(batch, mels, 3000) features and (batch, length) tokens, -100 where padded."""
        windows = []
        for index in chosen:
            features = self._features(self._clips.samples(index))[:, :-1][:, :_FRAMES]
            windows.append(np.pad(features, ((0, 0), (0, _FRAMES - features.shape[1]))))
        longest = max(len(self._tokens[index]) for index in chosen)
        tokens = [self._tokens[i] + [-100] * (longest - len(self._tokens[i])) for i in chosen]
        return (
            torch.from_numpy(np.stack(windows).astype(np.float32)).to(self._device),
            torch.tensor(tokens, device=self._device),
        )


class _Training:
    """Steps over the clips, from the last checkpoint on if there is one of the same training."""

    def __init__(
        self,
        model: WhisperForConditionalGeneration,
        feed: _Feed,
        *,
        parts: tuple[list[int], list[int]],
        options: FineTuning,
        checkpoint: Path,
        identity: list[str],
        device: torch.device,
    ) -> None:
        self._model, self._feed, (self._train, self._held_out) = model, feed, parts
        self._options, self._checkpoint, self._device = options, checkpoint, device
        self._same = json.dumps(
            [*identity, {name: value for name, value in asdict(options).items() if name != "device"}]
        )
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(learned, lr=options.learning_rate)
        half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
        self._scaler = torch.amp.GradScaler(device.type, enabled=half)
        self._precision = torch.float16 if half else torch.bfloat16
        self.step = 0
        self.before: float | None = None

    def run(self, told: Told) -> None:
        batches = self._batches()
        steps = -(-len(batches) // self._options.accumulate)
        if not self._resume():
            self.before = self.held_out_loss()
        self._model.train()
        for step in range(self.step, steps):
            group = batches[step * self._options.accumulate : (step + 1) * self._options.accumulate]
            for part in self._optimiser.param_groups:
                part["lr"] = self._options.learning_rate * self._slope(step, steps)
            total = 0.0
            for batch in group:
                loss = self._loss(batch) / len(group)
                self._scaler.scale(loss).backward()
                total += loss.item()
            self._scaler.unscale_(self._optimiser)
            nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            self._scaler.step(self._optimiser)
            self._scaler.update()
            self._optimiser.zero_grad(set_to_none=True)
            self.step = step + 1
            told(f"step {self.step} of {steps}, loss {total:.3f}", self.step / steps)
            if self.step % self._options.checkpoint_every == 0:
                self._save()

    def held_out_loss(self) -> float | None:
        if not self._held_out:
            return None
        self._model.eval()
        losses = []
        with torch.inference_mode():
            for begin in range(0, len(self._held_out), self._options.batch_size):
                batch = self._held_out[begin : begin + self._options.batch_size]
                losses.append((self._loss(batch).item(), len(batch)))
        self._model.train()
        return sum(loss * n for loss, n in losses) / len(self._held_out)

    def _loss(self, batch: list[int]) -> Tensor:
        features, tokens = self._feed(batch)
        inputs, targets = tokens[:, :-1].clamp(min=0), tokens[:, 1:].clone()
        targets[:, : len(_PROMPT) - 1] = -100
        mixed = torch.autocast("cuda", self._precision) if self._device.type == "cuda" else nullcontext()
        with mixed:
            logits = self._model(input_features=features, decoder_input_ids=inputs).logits
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100)

    def _batches(self) -> list[list[int]]:
        """Of all epochs, in an order that the seed decides, so that a resumed training goes on where it was."""
        chooser, size, found = random.Random(self._options.seed), self._options.batch_size, []
        for _ in range(self._options.epochs):
            order = list(self._train)
            chooser.shuffle(order)
            found += [order[begin : begin + size] for begin in range(0, len(order), size)]
        return found

    def _slope(self, step: int, steps: int) -> float:
        warm = max(1, round(steps * self._options.warmup_share))
        return (step + 1) / warm if step < warm else max(0.0, (steps - step) / max(1, steps - warm))

    def _save(self) -> None:
        parts = {"same": self._same, "step": self.step, "before": self.before}
        states = {"model": self._model.state_dict(), "optimiser": self._optimiser.state_dict()}
        with file_written_whole(self._checkpoint) as unfinished:
            torch.save(parts | states | {"scaler": self._scaler.state_dict()}, unfinished)

    def _resume(self) -> bool:
        if not self._checkpoint.is_file():
            return False
        saved = torch.load(self._checkpoint, map_location=self._device, weights_only=True)
        if saved["same"] != self._same:
            return False
        self._model.load_state_dict(saved["model"])
        self._optimiser.load_state_dict(saved["optimiser"])
        self._scaler.load_state_dict(saved["scaler"])
        self.step, self.before = saved["step"], saved["before"]
        return True


def _load(base: str) -> tuple[WhisperForConditionalGeneration, PreTrainedTokenizerBase]:
    try:
        model = WhisperForConditionalGeneration.from_pretrained(base, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError, KeyError) as error:
        raise CannotTrain(
            f"--base {base}: transformers cannot load it ({error}); give a folder, or a name of a hub that is "
            "reachable, of a Whisper in transformers' layout (not a CTranslate2 folder)"
        ) from error
    missing = [token for token in (*_PROMPT, _END) if token not in tokenizer.get_vocab()]
    if missing:
        raise CannotTrain(f"--base {base}: its tokenizer lacks {', '.join(missing)}; take a multilingual Whisper")
    return model, tokenizer


def _divided(count: int, options: FineTuning) -> tuple[list[int], list[int]]:
    order = list(range(count))
    random.Random(options.seed).shuffle(order)
    kept = round(count * options.held_out_share)
    return sorted(order[kept:]), sorted(order[:kept])


def _device(name: str) -> torch.device:
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _quantization(name: str, device: torch.device) -> str:
    return name if name != "default" else ("float16" if device.type == "cuda" else "int8")
