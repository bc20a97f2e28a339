"""Channel -> segments of speech with word times, through faster-whisper."""

import math
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import Any
from zipfile import BadZipFile

import numpy as np
from ctranslate2 import StorageView, get_cuda_device_count
from faster_whisper import BatchedInferencePipeline, WhisperModel
from faster_whisper.transcribe import Segment as Decoded
from faster_whisper.transcribe import Word as DecodedWord
from faster_whisper.vad import VadOptions, get_speech_timestamps
from numpy.typing import NDArray

from models.call import SAMPLE_RATE, Channel, Segment, Word
from models.errors import ModelNotFound
from models.homophones import Homophones
from models.weights import find_weights

_SETTING = "CALLAUDIT_ASR_MODEL"
# Without tokenizer.json faster-whisper takes another model's from the hub.
_NEEDED = ("model.bin", "config.json", "tokenizer.json")
_REMEDY = (
    "a whole one is made by: ct2-transformers-converter --model NAME --output_dir FOLDER "
    "--copy_files tokenizer.json preprocessor_config.json"
)
WHISPER_WINDOW_S = 30.0
_ROUNDING = SAMPLE_RATE // 1000  # faster-whisper rounds times to milliseconds


@dataclass(frozen=True, slots=True)
class Decoding:
    """How speech is found and decoded; what is not named here stays as faster-whisper has it."""

    language: str = "zh"
    beam_size: int = 5
    batched: bool = True
    batch_size: int = 8  # windows decoded together
    window_s: float = WHISPER_WINDOW_S  # the most; pauses between turns are taken out to fill it
    room_s: float = 1.0  # left empty in a window shorter than Whisper's: at its very end such models go on and on
    block_s: float = 300.0  # read and searched for speech at once: bounds memory for calls of any length
    least_silence_ms: int = 250
    least_speech_ms: int = 90  # shorter sounds are clicks
    pad_ms: int = 200
    no_speech_above: float = 0.6  # with a mean log-probability below, the window is silence (Whisper's own rule)
    log_probability_below: float = -1.0
    no_repeat_ngram: int = 0  # tokens that may not be decoded twice in a window; 0 where people may repeat themselves
    loop_above: float = 2.4  # compression ratio of a window's text (Whisper's own threshold) that is decoded once more
    loop_ngram: int = 3  # tokens that may then not be decoded twice
    second_beam_size: int = 1  # of the second decode, which shall not make the first one's mistakes


@dataclass(slots=True)
class _Turn:
    """Speech between two silences of one block, with some silence around."""

    start: int  # samples from the start of the channel
    sound: NDArray[np.float32]
    voice: tuple[int, int]  # samples from the start of the channel, without the silence
    words: list[Word] = field(default_factory=list)
    mean_log_probability: float = 0.0
    no_speech_probability: float = 0.0
    compression_ratio: float = 1.0


class Transcriber:
    """A loaded Whisper; safe to share between threads."""

    def __init__(
        self,
        model: str = "bundled/transcriber",
        device: str = "auto",
        compute_type: str = "default",
        threads: int = 0,
        decoding: Decoding | None = None,
    ) -> None:
        """`model`: bundled, a CTranslate2 folder, or a name of the hub. Raises ModelNotFound.

        `compute_type`: a number format of CTranslate2; `default` is int8 on a CPU, on a GPU as the model was saved.
        """
        self.weights = find_weights(_SETTING, model, _NEEDED, _REMEDY)
        chosen = decoding or Decoding()
        # A model that was trained on less than Whisper's 30 s, or tends to loop, says so in its card.
        trained_s = float(self.weights.card.get("longest_window_s", WHISPER_WINDOW_S))
        filled_s = trained_s if trained_s >= WHISPER_WINDOW_S else trained_s - chosen.room_s
        no_repeat = int(self.weights.card.get("no_repeat_ngram", chosen.no_repeat_ngram))
        self._decoding = replace(chosen, window_s=min(chosen.window_s, filled_s), no_repeat_ngram=no_repeat)
        try:
            self._whisper = _Windowed(
                trained_s,
                str(self.weights.folder),
                device=device,
                compute_type=_number_format(compute_type, device),
                cpu_threads=threads or len(os.sched_getaffinity(0)),
            )
            spelling = self.weights.folder / "homophones.npz"  # of a recogniser that hears better than it spells
            self._homophones = Homophones.load(spelling) if spelling.is_file() else None
        except (RuntimeError, ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
            raise ModelNotFound(_SETTING, model, f"it cannot be loaded ({error})") from error
        takes, given = self._whisper.model.n_mels, self._whisper.feature_extractor.mel_filters.shape[0]
        if takes != given:  # faster-whisper gives 80 where no preprocessor_config.json says otherwise
            why = f"it takes {takes} mels and its preprocessor_config.json, or the lack of one, gives {given}"
            raise ModelNotFound(_SETTING, model, f"{why} ({_REMEDY})")

    @property
    def compute_type(self) -> str:
        """What is computed in, as CTranslate2 names it."""
        return str(self._whisper.model.compute_type)

    @property
    def window_s(self) -> float:
        """Seconds of sound that are decoded together at most."""
        return self._decoding.window_s

    def __call__(self, channel: Channel, progress: Callable[[float], None] | None = None) -> Iterator[Segment]:
        """Segments in order of time, one a turn; `progress` hears the seconds done."""
        for turns, done in _blocks(channel, self._decoding):
            if turns:
                self._decode(turns, progress)
            yield from (_segment(turn, self._spelled(turn.words)) for turn in turns if turn.words)
            if progress:
                progress(done)

    def again(self, sounds: Sequence[NDArray[np.float32]]) -> list[str]:
        """The text of each sound, of at most `window_s`, alone in a window, by another search than the first time's."""
        joined = np.concatenate([np.zeros(0, np.float32), *sounds])
        ends = np.cumsum([0, *(sound.size for sound in sounds)]).tolist()
        texts = [""] * len(sounds)
        for segment in self._segments(joined, list(pairwise(ends)), self._decoding.second_beam_size, words=False):
            if not self._silent(segment):
                place = bisect_right(ends, round(segment.start * SAMPLE_RATE) + _ROUNDING) - 1
                texts[min(place, len(texts) - 1)] += self._spelled_alike(segment)
        return texts

    def _spelled(self, words: list[Word]) -> list[Word]:
        if self._homophones is None:
            return words
        spelled = iter(self._homophones([(character, word.probability) for word in words for character in word.text]))
        return [replace(word, text="".join(islice(spelled, len(word.text)))) for word in words]

    def _spelled_alike(self, segment: Decoded) -> str:
        """Without times a segment's words have no probabilities of their own, so each has their mean."""
        text = segment.text.strip()
        probability = math.exp(min(0.0, segment.avg_logprob))
        return self._homophones([(character, probability) for character in text]) if self._homophones else text

    def _silent(self, segment: Decoded) -> bool:
        chosen = self._decoding
        return bool(
            segment.no_speech_prob > chosen.no_speech_above and segment.avg_logprob < chosen.log_probability_below
        )

    def _decode(self, turns: list[_Turn], progress: Callable[[float], None] | None) -> None:
        """Fill in the turns' words. Turns are joined to windows without the pauses, so times are mapped back."""
        starts, clips = _pack(turns, self._decoding.window_s)
        joined = np.concatenate([turn.sound for turn in turns])
        for segment in self._segments(joined, clips, self._decoding.beam_size, words=True):
            if progress:  # whoever listens may stop here; a whole block may take a minute
                place = bisect_right(starts, segment.start * SAMPLE_RATE)
                progress(turns[max(0, place - 1)].start / SAMPLE_RATE)
            if self._silent(segment):
                continue
            for word in segment.words or ():
                middle = (word.start + word.end) / 2 * SAMPLE_RATE
                place = max(0, bisect_right(starts, middle) - 1)
                turn = turns[place]
                turn.words.append(_word(word, (turn.start - starts[place]) / SAMPLE_RATE, turn))
                turn.mean_log_probability = segment.avg_logprob
                turn.no_speech_probability = segment.no_speech_prob
                turn.compression_ratio = segment.compression_ratio

    def _segments(
        self, joined: NDArray[np.float32], clips: list[tuple[int, int]], beam_size: int, words: bool
    ) -> Iterator[Decoded]:
        """In order of the clips. A loop swallows what is said after it, so its clip is decoded once more, without.

        Whisper falls back on other temperatures there, which decoding in batches leaves out. Who did repeat themselves
        are then misheard: the loop's compression ratio stays, as evidence against the words.
        """
        chosen = self._decoding
        begins = [begin for begin, _ in clips]
        for segment in self._decoded(joined, clips, beam_size, words, chosen.no_repeat_ngram):
            if segment.compression_ratio > chosen.loop_above and chosen.batched:
                middle = (segment.start + segment.end) / 2 * SAMPLE_RATE
                clip = clips[bisect_right(begins, middle) - 1]
                tried = list(self._decoded(joined, [clip], beam_size, words, chosen.loop_ngram))
                if all(other.compression_ratio <= chosen.loop_above for other in tried):
                    yield from (replace(other, compression_ratio=segment.compression_ratio) for other in tried)
                    continue
            yield segment

    def _decoded(
        self, joined: NDArray[np.float32], clips: list[tuple[int, int]], beam_size: int, words: bool, no_repeat: int
    ) -> Iterator[Decoded]:
        chosen = {
            "language": self._decoding.language,
            "beam_size": beam_size,
            "temperature": 0.0,
            "condition_on_previous_text": False,
            "no_repeat_ngram_size": no_repeat,
            "without_timestamps": True,
            "word_timestamps": words,
            "vad_filter": False,
        }
        if self._decoding.batched:
            segments, _ = BatchedInferencePipeline(self._whisper).transcribe(
                joined,
                clip_timestamps=[{"start": a / SAMPLE_RATE, "end": b / SAMPLE_RATE} for a, b in clips],
                batch_size=self._decoding.batch_size,
                **chosen,
            )
            yield from segments
            return
        for begin, end in clips:
            segments, _ = self._whisper.transcribe(joined[begin:end], no_speech_threshold=None, **chosen)
            for segment in segments:
                segment.start += begin / SAMPLE_RATE
                segment.end += begin / SAMPLE_RATE
                for word in segment.words or ():
                    word.start += begin / SAMPLE_RATE
                    word.end += begin / SAMPLE_RATE
                yield segment


def _number_format(compute_type: str, device: str) -> str:
    on_cpu = device == "cpu" or (device == "auto" and not get_cuda_device_count())
    return "int8" if compute_type == "default" and on_cpu else compute_type


class _Windowed(WhisperModel):  # type: ignore[misc]  # the library tells no types
    """Encodes no more of a window than the model was trained on: the rest of Whisper's 30 s is padding, and costs."""

    def __init__(self, window_s: float, *chosen: Any, **options: Any) -> None:
        super().__init__(*chosen, **options)
        self._frames = round(window_s / self.feature_extractor.time_per_frame)

    def encode(self, features: NDArray[np.float32]) -> StorageView:
        return super().encode(np.ascontiguousarray(features[..., : self._frames]))


def _blocks(channel: Channel, decoding: Decoding) -> Iterator[tuple[list[_Turn], float]]:
    """Turns of one stretch of the channel after another, and the seconds done; no turn is cut between stretches."""
    position, length = 0, len(channel.samples)
    pad = decoding.pad_ms * SAMPLE_RATE // 1000
    options = VadOptions(
        max_speech_duration_s=decoding.window_s - 2 * pad / SAMPLE_RATE,
        min_speech_duration_ms=decoding.least_speech_ms,
        min_silence_duration_ms=decoding.least_silence_ms,
        speech_pad_ms=0,  # padded below, so that the voice's own bounds stay known
    )
    while position < length:
        sound = channel.samples.read(position, min(length, position + int(decoding.block_s * SAMPLE_RATE)))
        voices = [(f["start"], f["end"]) for f in get_speech_timestamps(sound, options)]
        done = position + sound.size
        if done < length and voices and voices[-1][1] > sound.size - SAMPLE_RATE and voices[-1][0] > pad:
            done = position + voices.pop()[0] - pad
        spans = zip(voices, _padded(voices, pad, done - position), strict=True)
        yield [_turn(sound, position, voice, padded) for voice, padded in spans], done / SAMPLE_RATE
        position = done


def _padded(voices: list[tuple[int, int]], pad: int, length: int) -> list[tuple[int, int]]:
    """Each with up to `pad` samples around, which two neighbours share where there are too few between them."""
    edges = [-2 * pad, *(edge for voice in voices for edge in voice), length + 2 * pad]
    return [
        (max(0, a - min(pad, (a - before) // 2)), min(length, b + min(pad, (after - b) - (after - b) // 2)))
        for before, (a, b), after in zip(edges[0:-2:2], voices, edges[3::2], strict=True)
    ]


def _turn(sound: NDArray[np.float32], position: int, voice: tuple[int, int], padded: tuple[int, int]) -> _Turn:
    start, stop = padded
    return _Turn(position + start, sound[start:stop], (position + voice[0], position + voice[1]))


def _pack(turns: list[_Turn], window_s: float) -> tuple[list[int], list[tuple[int, int]]]:
    """Where each turn starts once joined, and the windows over them; in samples."""
    starts, clips = [], [(0, 0)]
    for turn in turns:
        begin, end = clips[-1]
        starts.append(end)
        if end > begin and end + turn.sound.size - begin > window_s * SAMPLE_RATE:
            clips.append((end, end + turn.sound.size))
        else:
            clips[-1] = (begin, end + turn.sound.size)
    return starts, clips


def _word(word: DecodedWord, shift: float, turn: _Turn) -> Word:
    first, last = turn.start / SAMPLE_RATE, (turn.start + turn.sound.size) / SAMPLE_RATE
    start = min(max(word.start + shift, first), last)
    return Word(start, max(start, min(word.end + shift, last)), word.word.strip(), min(1.0, float(word.probability)))


def _segment(turn: _Turn, words: Sequence[Word]) -> Segment:
    return Segment(
        words[0].start,
        words[-1].end,
        tuple(words),
        turn.mean_log_probability,
        turn.no_speech_probability,
        turn.compression_ratio,
        (turn.voice[0] / SAMPLE_RATE, turn.voice[1] / SAMPLE_RATE),
    )
