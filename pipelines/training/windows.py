"""Shards of clips -> batches for the recogniser: single utterances, or windows as faster-whisper feeds them."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.training.babble import Babble
from pipelines.training.nonspeech import SOUNDS, sound
from pipelines.training.recogniser import EOT, PROMPT, TEACHER, Batch, Vocabulary
from pipelines.training.shards import HUMAN, Clip, log_mel, read_shard, scaled
from pipelines.training.synthesis import HANZI
from pipelines.training.telephone import degrade

WINDOW_FRAMES = 3_000
LONGEST_TEXT = 440
_SILENT_SHARE = 0.02  # windows in which nobody speaks, for each clip of speech
_BABBLE_SHARE = 0.6  # of them; the others are a line's sounds
_HUMAN_SHARE = 0.6  # shards of people's speech, of half the clips, after each synthetic one


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
    folder: Path, vocabulary: Vocabulary, chooser: random.Random, frames: int, longest: int, *, babble: Babble
) -> Iterator[Batch]:
    """Utterances joined to anything up to `longest` frames; zeros follow to there, as in service, or rarely to 30 s.

    `babble` is heard among them. `frames`: about a batch.
    """
    windows: list[list[Clip]] = []
    silences = nonspeech(babble, chooser, longest / 100)
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


def nonspeech(babble: Babble, chooser: random.Random, longest_s: float) -> Iterator[Clip]:
    """Line sounds and babble without a word that can be told, for ever: the recogniser learns to say nothing."""
    draw = np.random.default_rng(chooser.randint(0, 1 << 30))
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
        mel=mel,
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
