"""Shards of speech -> a Whisper-architecture Mandarin recogniser, trained from scratch.

Synthetic speech knows when each syllable sounds, so nothing has to be aligned by chance: stage `encoder` learns the
syllable of every frame, stage `decoder` learns to read them with two heads taught where to look, and stage `windows`
trains the whole on padded 30 s windows as faster-whisper feeds them (`joint` does so on single utterances, cheaper).
"""

import argparse
import copy
import json
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from pipelines.training.babble import Babble
from pipelines.training.denormals import flushed_denormals
from pipelines.training.nonspeech import SOUNDS, sound
from pipelines.training.shards import HUMAN, Clip, log_mel, read_shard, read_texts, scaled
from pipelines.training.synthesis import HANZI, VOICES, toneless
from pipelines.training.telephone import degrade
from pipelines.training.whisper_encoder import encode

WINDOW_FRAMES = 3_000
LONGEST_TEXT = 440
_SILENT_SHARE = 0.02  # windows in which nobody speaks, for each clip of speech
_BABBLE_SHARE = 0.6  # of them; the others are a line's sounds
_HUMAN_SHARE = 0.6  # shards of people's speech, of half the clips, after each synthetic one
TONES = 6  # 0 where nobody speaks, 5 the neutral one
TEACHER = 512  # features of the teacher, Whisper base
WEIGHTS = {"teacher": 0.3, "syllable": 0.5, "before": 0.2, "tone": 0.2, "decoding": 1.0, "following": 0.3}
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


@dataclass(frozen=True, slots=True)
class Training:
    """One stage's training."""

    vocabulary: Path
    shards: Path
    out: Path
    init: Path | None = None  # a stage's weights, or an exported folder such as the bundled one
    stage: Stage = "encoder"
    minutes: float = 10
    rate: float = 1e-3
    warmup: int = 300  # steps
    decay: float = 0.0  # last share of the time, in which the rate falls to 0
    batch: int = 6_000  # frames
    longest: int = WINDOW_FRAMES  # frames of speech in a window, at most
    threads: int = 2
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: twice as fast where the processor multiplies it (AMX)
    seed: int = 0


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
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(parts, ensure_ascii=False), "utf8")
        unfinished.rename(path)

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


def clips(folder: Path, chooser: random.Random) -> Iterator[list[Clip]]:
    """Shard after shard in random order, for ever; shards that appear meanwhile join in.

    What people said is rare and comes again and again, beside ever new synthetic speech. Raises FileNotFoundError
    where there is no synthetic shard.
    """
    while True:
        shards = sorted(folder.glob("[0-9]*.npz"))
        human = [shard for shard in shards if HUMAN in shard.name]
        synthetic = [shard for shard in shards if HUMAN not in shard.name]
        if not synthetic:
            raise FileNotFoundError(
                f"{folder} holds no shard of synthetic speech; pipelines.training.shards makes some"
            )
        chooser.shuffle(synthetic)
        for shard in synthetic[:40]:
            said = read_shard(chooser.choice(human)) if human and chooser.random() < _HUMAN_SHARE else []
            yield read_shard(shard) + said


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
        if group:
            batches.append(group)
        chooser.shuffle(batches)
        for group in batches:
            longest = max(len(c.mel) for c in group) + chooser.randint(0, 60)
            yield collate([[c] for c in group], vocabulary, longest + longest % 2, chooser)


def window_batches(
    folder: Path, vocabulary: Vocabulary, chooser: random.Random, frames: int, longest: int
) -> Iterator[Batch]:
    """Utterances joined to anything up to `longest` frames; zeros follow to there, as in service, or rarely to 30 s.

    `frames`: about a batch.
    """
    windows: list[list[Clip]] = []
    silences = nonspeech(chooser, longest / 100)
    for shard in clips(folder, chooser):
        chooser.shuffle(shard)
        window: list[Clip] = []
        limit = chooser.uniform(200, longest - 50)
        used = 0
        for clip in shard:
            if window and used + len(clip.mel) + 80 * len(window) > limit:
                windows.append(window)
                window, used, limit = [], 0, chooser.choice([chooser.uniform(200, longest - 50), longest - 50])
            window.append(clip)
            used += len(clip.mel)
            if chooser.random() < _SILENT_SHARE:
                windows.append([next(silences)])
        chooser.shuffle(windows)
        while len(windows) * longest >= frames:
            padded = WINDOW_FRAMES if chooser.random() < 0.03 else longest
            size = max(1, frames // padded)
            yield collate([windows.pop() for _ in range(min(size, len(windows)))], vocabulary, padded, chooser)


def nonspeech(chooser: random.Random, longest_s: float) -> Iterator[Clip]:
    """Line sounds and babble without a word that can be told, for ever: the recogniser learns to say nothing."""
    draw = np.random.default_rng(chooser.randint(0, 1 << 30))
    babble = Babble(VOICES, "train")
    while True:
        seconds = chooser.uniform(1, longest_s)
        if chooser.random() < _BABBLE_SHARE:
            samples = degrade(babble(seconds, chooser.randint(4, 8), draw), draw)
        else:
            samples = sound(chooser.choice(list(SOUNDS)), seconds, chooser.uniform(-50, -3), draw)
        yield Clip(log_mel(samples), "", (), np.zeros((0, 2), np.int16))


def collate(groups: list[list[Clip]], vocabulary: Vocabulary, frames: int, chooser: random.Random) -> Batch:
    mel = torch.zeros(len(groups), 80, frames)
    heads = {name: torch.full((len(groups), frames // 2), -100) for name in ("syllable", "before", "tone")}
    tokens, sounding, taught, taught_at = [], [], [], []
    for row, group in enumerate(groups):
        parts: list[Tensor] = []
        ids, places, begin, last = list(PROMPT), [], 0, 0
        spoken: list[tuple[int, int, int, int]] = []  # first position, end, syllable, tone
        untimed: list[slice] = []
        for clip in group:
            if parts:
                pause = torch.full((chooser.randint(0, 70), 80), float(parts[-1][:5].mean()))
                parts.append(pause + 0.3 * torch.randn_like(pause))
                begin += len(pause)
            parts.append(torch.from_numpy(clip.mel).float())
            timed = len(clip.spans) > 0
            if clip.syllables and not timed:
                untimed.append(slice(begin // 2, (begin + len(clip.mel)) // 2))
            if clip.taught is not None:
                count = min(len(clip.taught), frames // 2 - begin // 2)
                taught.append(torch.from_numpy(clip.taught[:count]).float())
                taught_at.append(torch.stack([torch.full((count,), row), begin // 2 + torch.arange(count)], dim=1))
            sounds = iter(zip(clip.syllables, (clip.spans + begin) // 2, strict=timed))
            for character in clip.text:
                place = (0, 0)
                if timed and HANZI.match(character):
                    syllable, span = next(sounds)
                    place = (int(span[0]), max(int(span[1]), int(span[0]) + 1))
                    spoken.append((*place, vocabulary.syllable_id.get(syllable[:-1], 0), int(syllable[-1])))
                if character in vocabulary.character_id:
                    ids.append(vocabulary.character_id[character])
                    places.append((max(0, place[0] - 1), place[1] + 1) if place[1] else place)
            begin += len(clip.mel)
        heard = scaled(torch.cat(parts)[:frames])
        _mask(heard, chooser)
        mel[row, :, : len(heard)] = heard.T
        for target in heads.values():
            target[row, : (len(heard) + 1) // 2] = 0
            for unknown in untimed:
                target[row, unknown] = -100
        for first, end, syllable, tone in spoken:
            for name, value in (("syllable", syllable), ("before", last), ("tone", tone)):
                heads[name][row, first:end] = value
            last = syllable
        tokens.append([*ids[: LONGEST_TEXT + len(PROMPT)], EOT])
        sounding.append(places[:LONGEST_TEXT])
    longest = max(map(len, tokens))
    most = max(map(len, sounding))
    return Batch(
        mel,
        **heads,
        tokens=torch.tensor([t + [-100] * (longest - len(t)) for t in tokens]),
        silent=torch.tensor([not places for places in sounding]),
        sounding=torch.tensor([p + [(0, 0)] * (most - len(p)) for p in sounding]).reshape(len(groups), most, 2),
        taught=torch.cat(taught) if taught else torch.zeros(0, TEACHER),
        taught_at=torch.cat(taught_at) if taught_at else torch.zeros(0, 2, dtype=torch.long),
    )


def _mask(heard: Tensor, chooser: random.Random) -> None:
    """SpecAugment (arXiv 1904.08779), in place."""
    fill = float(heard.mean())
    for _ in range(2):
        low = chooser.randint(0, 70)
        heard[:, low : low + chooser.randint(0, 10)] = fill
    for _ in range(max(1, len(heard) // 400)):
        begin = chooser.randint(0, len(heard))
        heard[begin : begin + chooser.randint(0, 12)] = fill


@flushed_denormals()
def train(options: Training) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    chooser = random.Random(options.seed)
    vocabulary = Vocabulary.load(options.vocabulary)
    model = Recogniser(configuration(len(vocabulary)), len(vocabulary.syllables))
    if options.precision == "bf16":  # the fused attention does not use AMX
        model.whisper.set_attn_implementation("eager")
    if options.init and options.init.is_dir():
        from pipelines.training.import_transcriber import restore  # noqa: PLC0415 - it knows this model

        restore(model, vocabulary, options.init)
    elif options.init:
        load_weights(model, options.init)
    optimiser = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.01)
    step = 0
    if options.stage == "windows":
        batches = window_batches(options.shards, vocabulary, chooser, options.batch, options.longest)
    else:
        batches = short_batches(options.shards, vocabulary, chooser, options.batch)
    began = reported = time.monotonic()
    sums, counts = Counter[str](), Counter[str]()
    for batch in batches:
        spent = (time.monotonic() - began) / 60 / options.minutes
        if spent >= 1:
            break
        decay = max(0.02, min(1.0, (1 - spent) / options.decay)) if options.decay else 1.0
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1, (step + 1) / options.warmup) * decay
        with torch.autocast("cpu", torch.bfloat16) if options.precision == "bf16" else nullcontext():
            losses = model.losses(batch, options.stage)
        loss = sum(WEIGHTS[name] * part for name, part in losses.items())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        sums.update({name: part.item() for name, part in losses.items()})
        counts.update(losses.keys())
        sums.update(seconds=int((batch.syllable >= 0).sum()) / 50)
        if step % 50 == 0:
            means = " ".join(f"{name} {sums[name] / count:.3f}" for name, count in counts.items())
            speed = sums["seconds"] / (time.monotonic() - reported)
            minute = spent * options.minutes
            print(f"{options.stage} step {step} minute {minute:.1f} {means} speed {speed:.0f}x", flush=True)
            sums.clear()
            counts.clear()
            reported = time.monotonic()
        if step % 500 == 0:
            save(model, options.out)
    save(model, options.out)


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
    unfinished = path.with_suffix(".part")
    torch.save({"model": model.state_dict()}, unfinished)
    unfinished.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=Path, required=True, help="file that --texts made, or an exported folder")
    parser.add_argument("--texts", type=Path, nargs="*", help="make the vocabulary from these and stop")
    parser.add_argument("--shards", type=Path, help="folder of shards to train on")
    parser.add_argument("--out", type=Path, help="file of the weights")
    parser.add_argument("--init", type=Path, help="a stage's weights, or an exported folder such as the bundled one")
    parser.add_argument("--stage", choices=get_args(Stage), default="encoder")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--decay", type=float, default=0.0, help="last share of the time in which the rate falls to 0")
    parser.add_argument("--batch", type=int, default=6_000, help="frames a batch")
    parser.add_argument("--longest", type=int, default=WINDOW_FRAMES, help="frames of speech in a window, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seed", type=int, default=0)
    chosen = vars(parser.parse_args())
    if texts := chosen.pop("texts"):
        Vocabulary.of([text for path in texts for text in read_texts(path)]).save(chosen["vocabulary"])
    elif missing := [f"--{name}" for name in ("shards", "out") if chosen[name] is None]:
        parser.error(f"training needs {' and '.join(missing)}; to make a vocabulary and stop, give --texts")
    else:
        train(Training(**chosen))


if __name__ == "__main__":
    main()
