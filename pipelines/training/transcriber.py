"""Shards of speech -> a Whisper-architecture Mandarin recogniser, trained from scratch.

The encoder learns first with a CTC loss over pinyin initials and finals, which finds the alignment that attention
alone does not; the decoder over characters joins, and at last whole padded 30 s windows as faster-whisper feeds them.
"""

import argparse
import copy
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from pipelines.training.nonspeech import SOUNDS, sound
from pipelines.training.shards import HANZI, log_mel, pinyin_units, read_texts

WINDOW_FRAMES = 3_000
LONGEST_TEXT = 440
WEIGHTS = {"ctc": 0.3, "decoding": 1.0, "following": 0.3}
GUIDED = ((1, 0), (2, 0))  # (layer, head) of the decoder that are taught to follow the sound; they give word times
SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>", "<|nospeech|>")
EOT, START, ZH, TRANSCRIBE, NO_TIMESTAMPS, NO_SPEECH = range(len(SPECIAL))
PROMPT = (START, ZH, TRANSCRIBE, NO_TIMESTAMPS)


@dataclass(frozen=True, slots=True)
class Clip:
    """One synthetic utterance: (frames, 80) log-mel, its text."""

    mel: NDArray[np.float16]
    text: str


@dataclass(frozen=True, slots=True)
class Batch:
    mel: Tensor  # (batch, 80, frames), scaled as Whisper does
    positions: Tensor  # (batch,) encoder positions that hold sound
    units: list[Tensor]
    tokens: Tensor  # (batch, length), prompt and end included, -100 where padded
    silent: Tensor  # (batch,) nobody speaks
    spans: list[list[tuple[int, int]]]  # of every text token, the units that sound it


class Vocabulary:
    """Characters and pinyin units to ids; training uses a compact table, export spreads it to Whisper's layout."""

    def __init__(self, characters: list[str], units: list[str]) -> None:
        self.characters, self.units = characters, units
        self._character_id = {c: i + len(SPECIAL) for i, c in enumerate(characters)}
        self._unit_id = {u: i + 1 for i, u in enumerate(units)}

    @classmethod
    def of(cls, texts: list[str], least: int = 2, most: int = 5_000) -> "Vocabulary":
        counts = Counter("".join(texts))
        characters = [c for c, n in counts.most_common(most) if n >= least]
        units = sorted({u for c in characters if HANZI.match(c) for u in pinyin_units(c)[0]})
        return cls(characters, units)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        return cls(**json.loads(path.read_text("utf8")))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"characters": self.characters, "units": self.units}, ensure_ascii=False), "utf8")

    def __len__(self) -> int:
        return len(SPECIAL) + len(self.characters)

    def spell(self, text: str) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        """Tokens, units, and of every token the half-open range of units that sound it (empty for a mark)."""
        sounds = iter(pinyin_units(text))
        tokens, units, spans = [], [], []
        for character in text:
            begin = len(units)
            if HANZI.match(character):
                units += [self._unit_id[u] for u in next(sounds) if u in self._unit_id]
            if character in self._character_id:
                tokens.append(self._character_id[character])
                spans.append((begin, len(units)))
        return tokens, units, spans

    def text(self, tokens: list[int]) -> str:
        return "".join(self.characters[t - len(SPECIAL)] for t in tokens if t >= len(SPECIAL))


class Recogniser(nn.Module):
    """transformers' Whisper and a CTC head over pinyin units on its encoder."""

    def __init__(self, config: WhisperConfig, units: int) -> None:
        super().__init__()
        self.whisper = WhisperForConditionalGeneration(config)
        self.ctc = nn.Linear(config.d_model, units + 1)
        with torch.no_grad():
            positions = self.whisper.model.decoder.embed_positions.weight
            positions.copy_(_sinusoids(*positions.shape) * 0.1)
        # Only the eager attention gives its weights; a hook keeps those of the decoder's look at the sound.
        eager = copy.copy(config)
        eager._attn_implementation = "eager"
        self._attention: dict[int, Tensor] = {}
        for number, layer in enumerate(self.whisper.model.decoder.layers):
            layer.encoder_attn.config = eager
            layer.encoder_attn.register_forward_hook(self._keep(number))

    def _keep(self, layer: int) -> Callable[[nn.Module, object, tuple[Tensor, Tensor]], None]:
        def keep(_: nn.Module, __: object, output: tuple[Tensor, Tensor]) -> None:
            self._attention[layer] = output[1]

        return keep

    def encode(self, mel: Tensor) -> Tensor:
        """(batch, 80, frames) -> (batch, frames / 2, d); transformers' own forward refuses less than 30 s."""
        encoder = self.whisper.model.encoder
        hidden = nn.functional.gelu(encoder.conv1(mel))
        hidden = nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        encoded: Tensor = encoder.layer_norm(hidden)
        return encoded

    def losses(self, batch: Batch, with_decoder: bool) -> dict[str, Tensor]:
        hidden = self.encode(batch.mel)
        log_probs = self.ctc(hidden).log_softmax(-1)
        lengths = torch.tensor([len(u) for u in batch.units])
        ctc = nn.functional.ctc_loss(
            log_probs.transpose(0, 1),
            torch.cat(batch.units),
            batch.positions,
            lengths,
            reduction="sum",
            zero_infinity=True,
        ) / lengths.sum().clamp(min=1)
        if not with_decoder:
            return {"ctc": ctc}
        inputs = batch.tokens[:, :-1].clamp(min=0)
        targets = batch.tokens[:, 1:].clone()
        targets[:, 0] = torch.where(batch.silent, NO_SPEECH, ZH)
        targets[:, 1 : len(PROMPT) - 1] = -100
        decoded = self.whisper.model.decoder(input_ids=inputs, encoder_hidden_states=hidden, use_cache=False)
        logits = self.whisper.proj_out(decoded.last_hidden_state)
        decoding = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=0.05)
        near = sounding(log_probs.detach(), batch)
        followed = [self._attention[layer][:, head, len(PROMPT) - 1 :] for layer, head in GUIDED]
        following = sum(
            -((attention[:, : near.shape[1]] * near).sum(-1) + 1e-4).log()[near.any(-1)].mean()
            for attention in followed
        )
        return {"ctc": ctc, "decoding": decoding, "following": following / len(GUIDED)}


def sounding(log_probs: Tensor, batch: Batch) -> Tensor:
    """(batch, text tokens, frames) mask of the frames that sound each token, by forced alignment of the CTC units."""
    near = torch.zeros(len(batch.spans), max(map(len, batch.spans)), log_probs.shape[1])
    for row, spans in enumerate(batch.spans):
        units, frames = batch.units[row], int(batch.positions[row])
        if not 0 < len(units) <= frames // 2:
            continue
        peaks = _align(log_probs[row, :frames].numpy(), units.numpy())
        for token, (begin, end) in enumerate(spans):
            if end > begin:
                near[row, token, max(0, peaks[begin] - 4) : peaks[end - 1] + 6] = 1
    return near


def _align(log_probs: NDArray[np.float32], units: NDArray[np.int64]) -> list[int]:
    """First frame of every unit on the best path through blanks and units (Viterbi)."""
    labels = np.zeros(2 * len(units) + 1, np.int64)
    labels[1::2] = units
    skips = np.zeros(len(labels), bool)
    skips[3::2] = units[1:] != units[:-1]
    emitted = log_probs[:, labels]
    best = np.full(len(labels), -np.inf, np.float32)
    best[:2] = emitted[0, :2]
    steps = np.zeros(emitted.shape, np.int8)
    for frame in range(1, len(emitted)):
        came = np.stack([best, np.r_[-np.inf, best[:-1]], np.where(skips, np.r_[-np.inf, -np.inf, best[:-2]], -np.inf)])
        steps[frame] = came.argmax(0)
        best = came.max(0) + emitted[frame]
    state = len(labels) - 1 if best[-1] >= best[-2] else len(labels) - 2
    first = [0] * len(units)
    for frame in range(len(emitted) - 1, -1, -1):
        if state % 2:
            first[state // 2] = frame
        state -= int(steps[frame, state])
    return first


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


def clips(folder: Path, chooser: random.Random) -> Iterator[list[Clip]]:
    """Shard after shard in random order, for ever; shards that appear meanwhile join in."""
    while True:
        shards = sorted(folder.glob("[0-9]*.npz"))
        chooser.shuffle(shards)
        for shard in shards[:40]:
            data = np.load(shard)
            ends = np.cumsum(data["lengths"])
            mel = data["mel"]
            yield [
                Clip(mel[end - length : end], str(text))
                for end, length, text in zip(ends, data["lengths"], data["texts"], strict=True)
            ]


def short_batches(folder: Path, vocabulary: Vocabulary, chooser: random.Random, frames: int) -> Iterator[Batch]:
    """Single utterances of like length, about `frames` frames together."""
    for shard in clips(folder, chooser):
        shard.sort(key=lambda clip: len(clip.mel))
        batches, group = [], []
        for clip in shard:
            if len(clip.mel) > 1_200:
                continue
            if group and (len(group) + 1) * len(clip.mel) > frames:
                batches.append(group)
                group = []
            group.append(clip)
        chooser.shuffle(batches)
        for group in batches:
            longest = max(len(c.mel) for c in group) + chooser.randint(0, 60)
            yield collate([[c] for c in group], vocabulary, longest + longest % 2, chooser)


def window_batches(folder: Path, vocabulary: Vocabulary, chooser: random.Random, size: int) -> Iterator[Batch]:
    """Several utterances joined to anything up to 30 s, padded to 30 s with zeros as faster-whisper does."""
    windows: list[list[Clip]] = []
    silences = nonspeech(chooser)
    for shard in clips(folder, chooser):
        chooser.shuffle(shard)
        window: list[Clip] = []
        limit = chooser.uniform(200, 2_950)
        used = 0
        for clip in shard:
            if window and used + len(clip.mel) + 80 * len(window) > limit:
                windows.append(window)
                window, used, limit = [], 0, chooser.choice([chooser.uniform(200, 2_950), 2_950])
            window.append(clip)
            used += len(clip.mel)
            if chooser.random() < 0.02:
                windows.append([chooser.choice(silences)])
        chooser.shuffle(windows)
        while len(windows) >= size:
            yield collate([windows.pop() for _ in range(size)], vocabulary, WINDOW_FRAMES, chooser)


def nonspeech(chooser: random.Random, count: int = 200) -> list[Clip]:
    """Line sounds without a word, so that the recogniser learns to say nothing."""
    draw = np.random.default_rng(chooser.randint(0, 1 << 30))
    return [
        Clip(log_mel(sound(name, chooser.uniform(1, 20), chooser.uniform(-50, -3), draw)), "")
        for name in chooser.choices(list(SOUNDS), k=count)
    ]


def collate(groups: list[list[Clip]], vocabulary: Vocabulary, frames: int, chooser: random.Random) -> Batch:
    mel = torch.zeros(len(groups), 80, frames)
    positions, units, tokens, spans = [], [], [], []
    for row, group in enumerate(groups):
        parts: list[Tensor] = []
        for clip in group:
            if parts:
                pause = torch.full((chooser.randint(0, 70), 80), float(parts[-1][:5].mean()))
                parts.append(pause + 0.3 * torch.randn_like(pause))
            parts.append(torch.from_numpy(clip.mel).float())
        heard = torch.cat(parts)[:frames]
        heard = (torch.maximum(heard, heard.max() - 8) + 4) / 4
        _mask(heard, chooser)
        mel[row, :, : len(heard)] = heard.T
        spelled = vocabulary.spell("".join(clip.text for clip in group))
        positions.append((len(heard) + 1) // 2)
        units.append(torch.tensor(spelled[1], dtype=torch.long))
        tokens.append([*PROMPT, *spelled[0][:LONGEST_TEXT], EOT])
        spans.append(spelled[2][:LONGEST_TEXT])
    longest = max(map(len, tokens))
    padded = torch.tensor([t + [-100] * (longest - len(t)) for t in tokens])
    return Batch(mel, torch.tensor(positions), units, padded, torch.tensor([not u.numel() for u in units]), spans)


def _mask(heard: Tensor, chooser: random.Random) -> None:
    """SpecAugment (arXiv 1904.08779), in place."""
    fill = float(heard.mean())
    for _ in range(2):
        low = chooser.randint(0, 70)
        heard[:, low : low + chooser.randint(0, 10)] = fill
    for _ in range(max(1, len(heard) // 400)):
        begin = chooser.randint(0, len(heard))
        heard[begin : begin + chooser.randint(0, 16)] = fill


def train(options: argparse.Namespace) -> None:
    torch.set_flush_denormal(True)  # peaked attention is full of them, and each costs a hundred cycles
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    chooser = random.Random(options.seed)
    vocabulary = Vocabulary.load(options.vocabulary)
    model = Recogniser(configuration(len(vocabulary)), len(vocabulary.units))
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)
    step = 0
    if options.init:
        saved = torch.load(options.init, weights_only=True)
        model.load_state_dict(saved["model"])
        if options.resume:
            optimiser.load_state_dict(saved["optimiser"])
    if options.stage == "windows":
        batches = window_batches(options.shards, vocabulary, chooser, options.batch)
    else:
        batches = short_batches(options.shards, vocabulary, chooser, options.batch)
    began = reported = time.monotonic()
    sums = Counter[str]()
    for batch in batches:
        spent = (time.monotonic() - began) / 60 / options.minutes
        if spent >= 1:
            break
        decay = 1.0 if not options.decay else max(0.02, 0.5 * (1 + math.cos(math.pi * spent)))
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, (step + 1) / options.warmup) * decay
        losses = model.losses(batch, options.stage != "ctc")
        loss = sum(WEIGHTS[name] * part for name, part in losses.items())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        sums.update({name: part.item() for name, part in losses.items()})
        sums.update(seconds=int(batch.positions.sum()) / 50, n=1)
        if step % 50 == 0:
            means = " ".join(f"{name} {sums[name] / sums['n']:.3f}" for name in losses)
            speed = sums["seconds"] / (time.monotonic() - reported)
            print(
                f"{options.stage} step {step} minute {spent * options.minutes:.1f} {means} speed {speed:.0f}x",
                flush=True,
            )
            sums.clear()
            reported = time.monotonic()
        if step % 500 == 0:
            save(model, optimiser, options.out)
    save(model, optimiser, options.out)


def save(model: Recogniser, optimiser: torch.optim.Optimizer, path: Path) -> None:
    unfinished = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict()}, unfinished)
    unfinished.rename(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--texts", type=Path, nargs="*", help="make the vocabulary from these and stop")
    parser.add_argument("--shards", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--resume", action="store_true", help="go on with the optimiser's state too")
    parser.add_argument("--stage", choices=["ctc", "joint", "windows"], default="ctc")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--decay", action="store_true")
    parser.add_argument("--batch", type=int, default=6_000, help="frames a batch; windows a batch in stage windows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.texts:
        Vocabulary.of(read_texts(chosen.texts)).save(chosen.vocabulary)
    else:
        train(chosen)
