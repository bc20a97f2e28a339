"""Chinese text -> speech of a neural multi-speaker synthesiser, with the time of each syllable from its attention.

The weights are those that ttskit 0.3.8 (MIT, https://github.com/KuangDD/ttskit) carries in its wheel: a Tacotron 2 with
speakers (arXiv 1712.05884, 1910.11997) and a MelGAN (arXiv 1910.06711). They are read as numbers, and nothing of the
package is imported.
"""

import hashlib
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipelines.training.synthesis import SAMPLE_RATE, SYLLABLE, Speech, pinyin

# "biaobei" is left out: the recordings that it is named after may not be used commercially.
_NAMES = """
    Aibao Aicheng Aida Aijia Aijing Aimei Aina Aiqi Aitong Aiwei Aixia Aiya Aiyue Xiaobei Xiaomei Xiaomeng Xiaowei
    Xiaoxue Xiaoyun Yina
"""
SPEAKERS = tuple(_NAMES.split())
HELD_OUT_SPEAKERS = ("Aiyu", "Siyue", "Xiaogang")  # speak only where recognition is measured
_SYNTHESISER = "ttskit/resource/model/mellotron.kuangdd-mspk.pt"
_VOCODER = "ttskit/resource/model/melgan.kuangdd.pt"
_RATE, _HOP = 22_050, 256
_LONGEST = 1_000  # frames
_SILENCE = -11.5129  # log of the least mel power

_INITIALS = "aa b c ch d ee f g h ii j k l m n oo p q r s sh t uu vv x z zh"
_FINALS = """
    a ai an ang ao e ei en eng er i ia ian iang iao ie in ing iong iu ix iy iz o ong ou u ua uai uan uang ueng ui un uo
    v van ve vn ng uong
"""
# As the synthesiser numbers them; letters, of which it knows 52, lie between tones and marks.
_SYMBOLS = {name: number for number, name in enumerate(["_", "~", "-", *_INITIALS.split(), *_FINALS.split(), *"12345"])}
_MARKS = {"！": 128, "？": 129, "。": 130, "，": 131}
_BETWEEN, _END, _PAD = _SYMBOLS["-"], _SYMBOLS["~"], _SYMBOLS["_"]


def phones(syllable: str) -> list[str]:
    """Toned pinyin as initial, final and tone: zhi4 -> zh ix 4, wei2 -> uu ui 2. Raises KeyError for other text."""
    sound, tone = {"n": "en", "ng": "en"}.get(syllable[:-1], syllable[:-1]), syllable[-1]  # 嗯
    initial = sound[:2] if sound[:2] in ("zh", "ch", "sh") else sound[:1]
    final = sound.removeprefix(initial)
    if sound[0] in "aeo":
        initial, final = sound[0] * 2, sound
    elif sound.startswith("yu"):
        initial, final = "vv", "v" + sound[2:]
    elif sound[0] == "y":
        initial, final = "ii", {"ou": "iu", "o": "o"}.get(final, final if final[0] == "i" else "i" + final)
    elif sound[0] == "w":
        initial, final = "uu", {"u": "u", "ei": "ui", "en": "un"}.get(final, "u" + final)
    elif initial in ("j", "q", "x") and final[0] == "u":
        final = "v" + final[1:]
    elif final == "i":
        final = {"zh": "ix", "ch": "ix", "sh": "ix", "z": "iy", "c": "iy", "s": "iy", "r": "iz"}.get(initial, final)
    for phone in (initial, final, tone):
        _SYMBOLS[phone]
    return [initial, final, tone]


@dataclass(frozen=True, slots=True)
class _Script:
    symbols: list[int]
    syllable_of: list[int]  # for each symbol, which syllable it belongs to, -1 none
    syllables: tuple[str, ...]


def _script(text: str) -> _Script:
    symbols, syllable_of, syllables = [], [], []
    for part in pinyin(text):
        if SYLLABLE.fullmatch(part):
            added = [_SYMBOLS[phone] for phone in phones(part)]
            syllable_of += [len(syllables)] * len(added) + [-1]
            syllables.append(part)
        else:
            added = [_MARKS[mark] for mark in part]
            syllable_of += [-1] * (len(added) + 1)
        symbols += [*added, _BETWEEN]
    return _Script([*symbols, _END, _PAD], [*syllable_of, -1, -1], tuple(syllables))


def can_speak(text: str) -> bool:
    """Whether it is only Chinese characters of syllables that the synthesiser knows, and the marks ，。？！."""
    try:
        return bool(_script(text).syllables)
    except KeyError:
        return False


class NeuralVoices:
    """Speaks sentences of Chinese characters and the marks ，。？！ in batches."""

    def __init__(self, wheel: Path) -> None:
        """`wheel`: ttskit-0.3.8-py3-none-any.whl, of `pip download --no-deps`. Raises ValueError for anything else."""
        try:
            with zipfile.ZipFile(wheel) as archive:
                self._weights = _weights(archive, _SYNTHESISER)
                self._vocoder = _vocoder(_weights(archive, _VOCODER))
        except (OSError, zipfile.BadZipFile, KeyError, pickle.UnpicklingError) as error:
            raise ValueError(f"{wheel} is not ttskit-0.3.8-py3-none-any.whl: {error}") from error
        self._encoder = nn.LSTM(256, 128, batch_first=True, bidirectional=True)
        self._encoder.load_state_dict(_under(self._weights, "encoder.lstm."))
        self._attending, self._saying = nn.LSTMCell(416, 512), nn.LSTMCell(800, 512)
        self._attending.load_state_dict(_under(self._weights, "decoder.attention_rnn."))
        self._saying.load_state_dict(_under(self._weights, "decoder.decoder_rnn."))

    @torch.inference_mode()
    def speak(self, texts: Sequence[str], voices: Sequence[Tensor]) -> list[Speech | None]:
        """One a text; None where the synthesiser lost its way in it. `voices`: of `voice`.

        Fast for texts of like length. Raises KeyError for a text of which `can_speak` says no.
        """
        scripts = [_script(text) for text in texts]
        mels, gazes, lengths = self._mels(scripts, torch.stack(list(voices)))
        spoken: list[Speech | None] = []
        for script, mel, gaze, length in zip(scripts, mels, gazes, lengths, strict=True):
            spans = _spans(script, gaze[:length].numpy()) if length else None
            spoken.append(None if spans is None else self._speech(script, mel[:, :length], spans))
        return spoken

    def voice(self, *shares: tuple[str, float]) -> Tensor:
        """Speakers mixed: (32,), with shares that sum to 1."""
        mixed = sum(share * _speaker(name) for name, share in shares)
        return functional.linear(
            torch.as_tensor(mixed), self._weights["speaker_embedding.weight"], self._weights["speaker_embedding.bias"]
        )

    def _mels(self, scripts: Sequence[_Script], voices: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """(batch, 80, frames) log mel, (batch, frames, symbols) attention, and how many frames each has, 0 if it never
        ended.
        """
        lengths = torch.tensor([len(script.symbols) for script in scripts])
        ids = nn.utils.rnn.pad_sequence([torch.tensor(script.symbols) for script in scripts], batch_first=True)
        beyond = torch.arange(ids.shape[1]) >= lengths[:, None]
        memory = self._memory(ids, lengths, beyond, voices)
        weights = self._weights
        keys = functional.linear(memory, weights["decoder.attention_layer.memory_layer.linear_layer.weight"])
        count = len(scripts)
        heard = memory.new_zeros(count, memory.shape[2])
        gaze = memory.new_zeros(count, ids.shape[1])
        gazed = torch.zeros_like(gaze)
        attending = saying = (memory.new_zeros(count, 512), memory.new_zeros(count, 512))
        frame = memory.new_zeros(count, 80)
        frames, gazes = [], []
        ended = torch.zeros(count, dtype=torch.long)
        while len(frames) < _LONGEST and not ended.all():
            attending = self._attending(torch.cat([self._prenet(frame), heard], -1), attending)
            gaze = self._gaze(attending[0], keys, torch.stack([gaze, gazed], 1), beyond)
            gazed = gazed + gaze
            heard = torch.einsum("bs,bsd->bd", gaze, memory)
            saying = self._saying(torch.cat([attending[0], heard], -1), saying)
            said = torch.cat([saying[0], heard], -1)
            frame = self._linear("decoder.linear_projection.linear_layer", said)
            gate = self._linear("decoder.gate_layer.linear_layer", said)[:, 0]
            frames.append(frame)
            gazes.append(gaze)
            ended = torch.where((ended == 0) & (gate > 0), len(frames), ended)
        mel = torch.stack(frames, 2)
        return mel + self._postnet(mel), torch.stack(gazes, 1), ended.tolist()

    def _memory(self, ids: Tensor, lengths: Tensor, beyond: Tensor, voices: Tensor) -> Tensor:
        hidden = functional.embedding(ids, self._weights["embedding.weight"]).transpose(1, 2)
        for layer in range(3):
            hidden = functional.relu(self._convolved(f"encoder.convolutions.{layer}", hidden))
            hidden = hidden.masked_fill(beyond[:, None], 0)
        packed = nn.utils.rnn.pack_padded_sequence(
            hidden.transpose(1, 2), lengths, batch_first=True, enforce_sorted=False
        )
        encoded, _ = nn.utils.rnn.pad_packed_sequence(self._encoder(packed)[0], batch_first=True)
        return torch.cat([encoded, voices[:, None].expand(-1, encoded.shape[1], -1)], 2)

    def _prenet(self, frame: Tensor) -> Tensor:
        for layer in range(2):  # dropout also in use, as it was trained: what varies the prosody
            frame = functional.linear(frame, self._weights[f"decoder.prenet.layers.{layer}.linear_layer.weight"])
            frame = functional.dropout(functional.relu(frame), 0.5, training=True)
        return frame

    def _gaze(self, query: Tensor, keys: Tensor, gazes: Tensor, beyond: Tensor) -> Tensor:
        layer, weights = "decoder.attention_layer.", self._weights
        asked = functional.linear(query, weights[f"{layer}query_layer.linear_layer.weight"])[:, None]
        placed = functional.conv1d(gazes, weights[f"{layer}location_layer.location_conv.conv.weight"], padding=15)
        placed = functional.linear(
            placed.transpose(1, 2), weights[f"{layer}location_layer.location_dense.linear_layer.weight"]
        )
        energy = functional.linear(torch.tanh(asked + placed + keys), weights[f"{layer}v.linear_layer.weight"])
        return energy[..., 0].masked_fill(beyond, -torch.inf).softmax(-1)

    def _postnet(self, mel: Tensor) -> Tensor:
        for layer in range(5):
            mel = self._convolved(f"postnet.convolutions.{layer}", mel)
            mel = torch.tanh(mel) if layer < 4 else mel
        return mel

    def _convolved(self, name: str, hidden: Tensor) -> Tensor:
        weights = self._weights
        hidden = functional.conv1d(hidden, weights[f"{name}.0.conv.weight"], weights[f"{name}.0.conv.bias"], padding=2)
        return functional.batch_norm(
            hidden, weights[f"{name}.1.running_mean"], weights[f"{name}.1.running_var"], weights[f"{name}.1.weight"],
            weights[f"{name}.1.bias"],
        )  # fmt: skip

    def _linear(self, name: str, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _speech(self, script: _Script, mel: Tensor, spans: NDArray[np.int64]) -> Speech:
        padded = functional.pad(mel, (0, 10), value=_SILENCE)
        samples = self._vocoder((padded[None] + 5) / 5)[0, 0, : -10 * _HOP].numpy()
        first, last = int(spans[0, 0]) * _HOP, min(int(spans[-1, 1] + 10) * _HOP, samples.size)
        resampled = soxr.resample(samples[first:last], _RATE, SAMPLE_RATE).astype(np.float32)
        seconds = (spans * _HOP - first) / _RATE
        return Speech(resampled, script.syllables, seconds.astype(np.float32))


def _spans(script: _Script, gaze: NDArray[np.float32]) -> NDArray[np.int64] | None:
    """(syllables, 2) frames of each, or None if one was passed over, said twice, or held for over a second."""
    owner = np.array(script.syllable_of)
    at = owner[gaze.argmax(1)]
    said = at[at >= 0]
    if not np.array_equal(said[np.diff(said, prepend=-1) != 0], np.arange(len(script.syllables))):
        return None
    begins = [int(np.flatnonzero(at == syllable)[0]) for syllable in range(len(script.syllables))]
    ends = [int(np.flatnonzero(at == syllable)[-1]) + 1 for syllable in range(len(script.syllables))]
    # Between two syllables of a word nothing else sounds.
    ends = [min(max(end, following), end + 8) for end, following in zip(ends, [*begins[1:], ends[-1] + 4], strict=True)]
    spans = np.array([begins, ends]).T
    return spans if (np.diff(spans, axis=1) <= _RATE / _HOP).all() else None


def _speaker(name: str) -> Tensor:
    """As the synthesiser knows its speakers: the digits of their names' MD5."""
    digits = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return (torch.tensor([int(digit, 16) for digit in digits], dtype=torch.float32) - 7) / 10


class _Module:
    """Stands for any module of the saved ones: only its numbers are wanted."""


def _weights(archive: zipfile.ZipFile, name: str) -> dict[str, Tensor]:
    """A pickled module's parameters and buffers by name. Nothing that its pickle names is run."""
    with archive.open(name) as file, zipfile.ZipFile(file) as saved:
        pickled = saved.read(next(part for part in saved.namelist() if part.endswith("data.pkl")))
    named = {str(argument) for code, argument, _ in pickletools.genops(pickled) if code.name == "GLOBAL"}
    modules = [
        (_Module, one.replace(" ", ".")) for one in named if one.startswith(("torch.nn.", "mellotron.", "melgan."))
    ]
    with torch.serialization.safe_globals([*modules, (set, "__builtin__.set")]), archive.open(name) as file:
        return dict(_numbers(torch.load(file, map_location="cpu", weights_only=True), ""))


def _numbers(module: _Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    parts = vars(module)
    for name, tensor in {**parts["_parameters"], **parts["_buffers"]}.items():
        if tensor is not None:
            yield prefix + name, tensor.detach().float()
    for name, part in parts["_modules"].items():
        yield from _numbers(part, f"{prefix}{name}.")


def _under(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


class _Residual(nn.Module):
    """Three convolutions wider and wider apart, each beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LeakyReLU(0.2), nn.ReflectionPad1d(3**step), nn.Conv1d(channels, channels, 3, dilation=3**step),
                nn.LeakyReLU(0.2), nn.Conv1d(channels, channels, 1),
            )
            for step in range(3)
        )  # fmt: skip
        self.shortcuts = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(3))

    def forward(self, hidden: Tensor) -> Tensor:
        for block, shortcut in zip(self.blocks, self.shortcuts, strict=True):
            hidden = shortcut(hidden) + block(hidden)
        return hidden


def _vocoder(weights: Mapping[str, Tensor]) -> nn.Module:
    """(batch, 80, frames), log mel as (x + 5) / 5 -> (batch, 1, samples), 256 a frame."""
    layers: list[nn.Module] = [nn.ReflectionPad1d(3), nn.Conv1d(80, 512, 7)]
    for (wide, narrow), stride in zip(pairwise((512, 256, 128, 64, 32)), (8, 8, 2, 2), strict=True):
        upwards = nn.ConvTranspose1d(wide, narrow, 2 * stride, stride, padding=stride // 2)
        layers += [nn.LeakyReLU(0.2), upwards, _Residual(narrow)]
    vocoder = nn.Sequential(*layers, nn.LeakyReLU(0.2), nn.ReflectionPad1d(3), nn.Conv1d(32, 1, 7), nn.Tanh())
    plain = {}
    for name, tensor in _under(weights, "generator.").items():
        if name.endswith("weight_v"):  # weight normalisation: a direction and a length
            length = weights["generator." + name.replace("weight_v", "weight_g")]
            plain[name.replace("weight_v", "weight")] = tensor * (length / tensor.flatten(1).norm(dim=1)[:, None, None])
        elif not name.endswith("weight_g"):
            plain[name] = tensor
    vocoder.load_state_dict(plain)
    return vocoder
