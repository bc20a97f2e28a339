"""Recording -> seconds of wall time that the pipeline and bare faster-whisper take for it, as one JSON object.

Bare is what a user of faster-whisper would write to get Chinese words with times: the same weights, threads, beam
and batch, its own decoding of the file and its own search for speech. What the pipeline adds is the confined
decoder, turns and utterances, labels, roles and the report.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

from models.transcriber import Decoding
from pipelines.decode import decode
from pipelines.score import load_engine, score

_ROUNDS = 2


def main() -> None:
    path = Path(sys.argv[1])
    engine = load_engine()
    model = WhisperModel(str(engine.transcriber.weights.folder), cpu_threads=len(os.sched_getaffinity(0)))

    def pipeline() -> None:
        with decode(path) as recording:
            score(recording, engine)

    def bare() -> None:
        _transcribe(model, path)

    # Alternating, and the best of each: whatever else the machine does then hits both alike.
    took = [(_wall_s(pipeline), _wall_s(bare)) for _ in range(_ROUNDS)]
    print(json.dumps({"pipeline_s": min(p for p, _ in took), "bare_s": min(b for _, b in took)}))


def _transcribe(model: WhisperModel, path: Path) -> None:
    chosen = Decoding()
    segments, _ = BatchedInferencePipeline(model).transcribe(
        decode_audio(str(path)),
        language=chosen.language,
        beam_size=chosen.beam_size,
        batch_size=chosen.batch_size,
        word_timestamps=True,
    )
    for _segment in segments:
        pass


def _wall_s(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
