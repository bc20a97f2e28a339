"""Recording -> seconds of wall time that the pipeline and bare faster-whisper take for it, as one JSON object.

Bare is what a user of faster-whisper would write to get Chinese words with times: the same weights, threads, beam
and batch, its own decoding of the file and its own search for speech; sequential is the same without batches. What the
pipeline adds is the confined decoder, turns and utterances, labels, roles and the report.
"""

import argparse
import json
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

from models.transcriber import Decoding
from pipelines.decode import decode
from pipelines.score import EngineOptions, load_engine, score
from tests.benchmarks.stopwatch import wall_s

_ROUNDS = 2


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("recording", type=Path)
    options.add_argument("--model", default=EngineOptions().asr_model)
    options.add_argument("--tokens", type=int, default=0, help="decoded a window, of a model that never ends by itself")
    options.add_argument("--sequential", action="store_true", help="take the time of bare sequential decoding too")
    chosen = options.parse_args()
    engine = load_engine(EngineOptions(asr_model=chosen.model))
    model = WhisperModel(str(engine.transcriber.weights.folder), cpu_threads=len(os.sched_getaffinity(0)))
    if chosen.tokens:
        transcriber = engine.transcriber
        for whisper in (model, transcriber._whisper):  # no user needs to cut texts short
            whisper.max_length = chosen.tokens
        # Random weights loop in every window, which would then be decoded once more.
        transcriber._decoding = replace(transcriber._decoding, loop_above=math.inf)

    def pipeline() -> None:
        with decode(chosen.recording) as recording:
            score(recording, engine)

    def bare() -> None:
        _drain(BatchedInferencePipeline(model).transcribe(_sound(), batch_size=Decoding().batch_size, **_asked())[0])

    def sequential() -> None:
        _drain(model.transcribe(_sound(), condition_on_previous_text=False, temperature=0.0, **_asked())[0])

    def _sound() -> object:
        return decode_audio(str(chosen.recording))

    measured = {"pipeline_s": pipeline, "bare_s": bare} | ({"sequential_s": sequential} if chosen.sequential else {})
    # Alternating, and the best of each: whatever else the machine does then hits all alike.
    took = [{name: wall_s(work) for name, work in measured.items()} for _ in range(_ROUNDS)]
    print(json.dumps({name: min(of_round[name] for of_round in took) for name in measured}))


def _asked() -> dict[str, object]:
    chosen = Decoding()
    return {"language": chosen.language, "beam_size": chosen.beam_size, "word_timestamps": True, "vad_filter": True}


def _drain(segments: Iterable[object]) -> None:
    for _segment in segments:
        pass


if __name__ == "__main__":
    main()
