"""What one call costs beside its transcription, in CPU seconds, as one JSON object: what a cluster is planned with."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from faster_whisper.vad import get_speech_timestamps

from models.call import SAMPLE_RATE
from models.classifier import Classifier
from models.speakers import Embeddings
from models.transcriber import Transcriber
from pipelines.archive import rows as made
from pipelines.archive.facts import Facts
from pipelines.archive.ledger import ledger
from pipelines.archive.store import Store
from pipelines.archive.work import Outcome, Task, judge_places
from pipelines.decode import decode
from tests.benchmarks.archive_calls import make_calls, make_long_call
from tests.benchmarks.archive_transcripts import make_transcripts, utterances_of
from tests.benchmarks.processes import own_cpu_s, waited_cpu_s

_SHORT = 40
_LONG_S = 60.0
_DECODED_S = 300.0
_TRANSCRIPTS = 25
_COMMITTED = 250  # calls of a part


def main() -> None:
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(made_here)
        print(json.dumps({**_of_sound(folder), **_of_words(folder)}))


def _of_sound(folder: Path) -> dict[str, float]:
    make_calls(folder / "short", _SHORT, 1.0, 1.0)
    short = sorted(path for path in (folder / "short").rglob("*.wav"))

    def decode_all() -> None:
        for path in short:
            with decode(path):
                pass

    make_long_call(folder / "long.wav", _LONG_S)
    decode_all()  # the codecs are loaded once a worker
    decoded = _cpu_s(decode_all) / len(short)
    with decode(folder / "long.wav") as recording:
        (channel,) = recording.channels
        sound = channel.samples.read(0, round(_LONG_S * SAMPLE_RATE))
        searched = _cpu_s(lambda: get_speech_timestamps(sound)) / _LONG_S
        spans = [(segment.start, segment.end) for segment in Transcriber(threads=1)(channel)]
        separation = Embeddings(threads=1)
        told_apart = _cpu_s(lambda: separation(channel, spans)) / _LONG_S
    make_long_call(folder / "longer.wav", _DECODED_S)
    whole = _cpu_s(lambda: _decode(folder / "longer.wav"))
    return {
        "decoder_start_s": round(decoded, 4),
        "decode_s_per_audio_s": round(max(0.0, whole - decoded) / _DECODED_S, 6),
        "speech_search_s_per_audio_s": round(searched, 6),
        "voices_s_per_audio_s": round(told_apart, 6),
    }


def _decode(path: Path) -> None:
    with decode(path):
        pass


def _of_words(folder: Path) -> dict[str, float]:
    utterances = make_transcripts(folder / "said", _TRANSCRIPTS)
    tasks = [Task(str(path), None) for path in sorted((folder / "said").iterdir())]
    classifier = Classifier(threads=1)
    outcomes: list[Outcome] = []
    classified = _cpu_s(lambda: outcomes.extend(judge_places(tasks, classifier)))
    said, previous = utterances_of(folder / "said")
    bare = _cpu_s(lambda: classifier(said, previous))
    texts = [outcome.model_dump_json() for outcome in outcomes]
    calls = _COMMITTED // len(texts) * len(texts)

    def book() -> None:
        """What the run itself does with what comes from its workers."""
        rows = made.nothing()
        for index in range(calls):
            report = Outcome.model_validate_json(texts[index % len(texts)]).report
            assert report
            made.add_report(rows, f"call-{index:06d}", Facts(), report)
        store = Store(str(folder / "archive"))
        with store.writing("transcripts"):
            part = store.commit(rows)
        with ledger() as known:
            known.note_done(((row["recording"], False) for row in rows["calls"]), part.name)
            known.note_sounds(((f"{index:064x}", "x") for index in range(calls)), part.name)

    booked = _cpu_s(book) / calls
    return {
        "classify_s_per_utterance": round(classified / utterances, 6),
        "bare_classifier_s_per_utterance": round(bare / utterances, 6),
        "book_s_per_call": round(booked, 6),
        "utterances_per_call": utterances / _TRANSCRIPTS,
    }


def _cpu_s(work: Callable[[], object]) -> float:
    """Of this process and of those that it started."""
    before = sum(_used())
    work()
    return sum(_used()) - before


def _used() -> tuple[float, float, float]:
    return time.process_time(), sum(getrusage(RUSAGE_CHILDREN)[:2]), _used_by_running()


def _used_by_running() -> float:
    """The decoders' server waits for the decoders, and nobody waits for it."""
    listings = Path("/proc/self/task").glob("*/children")
    children = [int(child) for listing in listings for child in listing.read_text("ascii").split()]
    return sum(own_cpu_s(child) + waited_cpu_s(child) for child in children)


if __name__ == "__main__":
    main()
