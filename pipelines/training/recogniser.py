"""A Whisper-architecture recogniser of Mandarin as it is trained: its vocabulary, what it is shown, what it loses."""

import copy
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from pipelines.training.new_file import file_written_whole
from pipelines.training.synthesis import HANZI, toneless
from pipelines.training.whisper_encoder import encode

TONES = 6  # 0 where nobody speaks, 5 the neutral one
TEACHER = 512  # features of the teacher, Whisper base
GUIDED = ((1, 0), (2, 0))  # (layer, head) of the decoder that are taught to follow the sound; they give word times
SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>", "<|nospeech|>")
EOT, START, ZH, TRANSCRIBE, NO_TIMESTAMPS, NO_SPEECH = range(len(SPECIAL))
PROMPT = (START, ZH, TRANSCRIBE, NO_TIMESTAMPS)

Stage = Literal["encoder", "decoder", "joint", "windows"]


@dataclass(frozen=True, slots=True)
class Batch:
    mel: Tensor  # (batch, 80, frames), scaled as Whisper does
    syllable: Tensor  # (batch, frames / 2): the syllable that sounds, 0 none, -100 beyond the sound
    before: Tensor  # the syllable before that one
    tone: Tensor
    tokens: Tensor  # (batch, length), prompt and end included, -100 where padded
    silent: Tensor  # (batch,) nobody speaks
    sounding: Tensor  # (batch, text tokens, 2): positions at which a token sounds, half open; empty if none is known
    taught: Tensor  # (taught positions, TEACHER): what a teacher hears there
    taught_at: Tensor  # (taught positions, 2): row and position of each


class Vocabulary:
    """Characters and toneless syllables to ids; a compact table, which export spreads to Whisper's layout."""

    def __init__(self, characters: list[str], syllables: list[str]) -> None:
        self.characters, self.syllables = characters, syllables
        self.character_id = {c: i + len(SPECIAL) for i, c in enumerate(characters)}
        self.syllable_id = {s: i + 1 for i, s in enumerate(syllables)}

    @classmethod
    def of(cls, texts: list[str], least: int = 2, most: int = 5_000) -> "Vocabulary":
        counts = Counter("".join(texts))
        characters = [c for c, n in counts.most_common(most) if n >= least]
        sounds = {s for text in texts for s in toneless("".join(HANZI.findall(text)))}
        return cls(characters, sorted(sounds))

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """What `save` wrote, or an exported folder's, whose characters end before the empty entry."""
        if path.is_dir():
            entries = json.loads((path / "vocabulary.json").read_text("utf8"))
            characters = entries[: entries.index("")]
            return cls(characters, sorted({toneless(c)[0] for c in characters if HANZI.match(c)}))
        return cls(**json.loads(path.read_text("utf8")))

    def save(self, path: Path) -> None:
        parts = {"characters": self.characters, "syllables": self.syllables}
        with file_written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(parts, ensure_ascii=False), "utf8")

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.characters)


class Recogniser(nn.Module):
    """transformers' Whisper, and what its encoder is taught beside: this frame's syllable, the one before, the tone."""

    def __init__(self, config: WhisperConfig, syllables: int) -> None:
        super().__init__()
        self.whisper = WhisperForConditionalGeneration(config)
        self.frame = nn.ModuleDict(
            {
                "syllable": nn.Linear(config.d_model, syllables + 1),
                "before": nn.Linear(config.d_model, syllables + 1),
                "tone": nn.Linear(config.d_model, TONES),
            }
        )
        self.teacher = nn.Linear(config.d_model, TEACHER)  # student's hearing as its teacher's; only in training
        with torch.no_grad():
            positions = self.whisper.model.decoder.embed_positions.weight
            positions.copy_(_sinusoids(*positions.shape) * 0.1)
        # Only the eager attention gives its weights; a hook keeps those of the decoder's look at the sound.
        eager = copy.copy(config)
        eager._attn_implementation = "eager"
        self._attention: dict[int, Tensor] = {}
        for layer in {layer for layer, _ in GUIDED}:
            attention = self.whisper.model.decoder.layers[layer].encoder_attn
            attention.config = eager
            attention.register_forward_hook(self._keep(layer))

    def _keep(self, layer: int) -> Callable[[nn.Module, object, tuple[Tensor, Tensor]], None]:
        def keep(_: nn.Module, __: object, output: tuple[Tensor, Tensor]) -> None:
            self._attention[layer] = output[1]

        return keep

    def encode(self, mel: Tensor) -> Tensor:
        """(batch, 80, frames) -> (batch, frames / 2, d)."""
        return encode(self.whisper.model.encoder, mel)

    def losses(self, batch: Batch, stage: Stage) -> dict[str, Tensor]:
        if stage == "decoder":
            with torch.no_grad():
                hidden = self.encode(batch.mel)
            return self._decoding(hidden, batch)
        hidden = self.encode(batch.mel)
        heard = {name: self._frames(name, hidden, getattr(batch, name)) for name in self.frame}
        if len(batch.taught):
            row, position = batch.taught_at.T
            heard["teacher"] = nn.functional.mse_loss(self.teacher(hidden[row, position]), batch.taught)
        return heard if stage == "encoder" else heard | self._decoding(hidden, batch)

    def _frames(self, name: str, hidden: Tensor, targets: Tensor) -> Tensor:
        known = targets >= 0
        if not known.any():
            return hidden.new_zeros(())
        return nn.functional.cross_entropy(self.frame[name](hidden[known]), targets[known])

    def _decoding(self, hidden: Tensor, batch: Batch) -> dict[str, Tensor]:
        inputs = batch.tokens[:, :-1].clamp(min=0)
        targets = batch.tokens[:, 1:].clone()
        targets[:, 0] = torch.where(batch.silent, NO_SPEECH, ZH)
        targets[:, 1 : len(PROMPT) - 1] = -100
        decoded = self.whisper.model.decoder(input_ids=inputs, encoder_hidden_states=hidden, use_cache=False)
        known = targets >= 0
        logits = self.whisper.proj_out(decoded.last_hidden_state[known])
        decoding = nn.functional.cross_entropy(logits, targets[known], label_smoothing=0.05)
        if not batch.sounding.numel():
            return {"decoding": decoding}
        place = torch.arange(hidden.shape[1])
        near = (place >= batch.sounding[..., :1]) & (place < batch.sounding[..., 1:])
        some = near.any(-1)
        if not some.any():
            return {"decoding": decoding}
        followed = [self._attention[layer][:, head, len(PROMPT) - 1 :][:, : near.shape[1]] for layer, head in GUIDED]
        following = sum(-((attention * near).sum(-1)[some] + 1e-4).log().mean() for attention in followed)
        return {"decoding": decoding, "following": following / len(GUIDED)}


def configuration(vocabulary: int) -> WhisperConfig:
    return WhisperConfig(
        vocab_size=vocabulary, d_model=256, encoder_layers=4, decoder_layers=3, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=1024, decoder_ffn_dim=1024, num_mel_bins=80, dropout=0.0,
        pad_token_id=EOT, bos_token_id=START, eos_token_id=EOT, decoder_start_token_id=START,
    )  # fmt: skip


def _sinusoids(length: int, channels: int) -> Tensor:
    scales = torch.exp(-math.log(10_000) / (channels // 2 - 1) * torch.arange(channels // 2))
    angles = torch.arange(length)[:, None] * scales[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def load_weights(model: Recogniser, path: Path) -> None:
    """What `save` wrote. Raises ValueError if it is of another shape or vocabulary."""
    try:
        missing, unknown = model.load_state_dict(torch.load(path, weights_only=True)["model"], strict=False)
    except RuntimeError as error:
        raise ValueError(f"{path} is of another vocabulary or shape: {error}") from error
    missing = [name for name in missing if not name.startswith("teacher.")]  # trained from here on
    if missing or unknown:
        raise ValueError(f"{path} is of another shape: {', '.join([*missing, *unknown])}")


def save(model: Recogniser, path: Path) -> None:
    with file_written_whole(path) as unfinished:
        torch.save({"model": model.state_dict()}, unfinished)
