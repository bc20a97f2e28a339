"""Transcripts of calls, and what the bare classifier takes for their utterances, as one JSON object."""

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from models.classifier import PREVIOUS_TURNS, Classifier
from pipelines.training.dataset import CORPUS, read_folder

_OF_A_CALL = 20  # utterances
_AT_ONCE = 512
_TALKING = 10  # of so many tiny files one has words


def make_transcripts(folder: Path, calls: int) -> int:
    """JSON lines, 20 utterances each, as long and as different as the corpus has them; returns how many."""
    folder.mkdir(parents=True)
    texts = cycle(row.text for row in read_folder(CORPUS))
    for call in range(calls):
        said = islice(texts, _OF_A_CALL)
        lines = [json.dumps(_line(index, text), ensure_ascii=False) for index, text in enumerate(said)]
        lines.append(json.dumps({"call": call, **_line(_OF_A_CALL, "再见。")}, ensure_ascii=False))
        (folder / f"call-{call:06d}.jsonl").write_text("\n".join(lines[1:]), "utf8")
    return calls * _OF_A_CALL


def make_tiny_transcripts(folder: Path, files: int) -> None:
    texts = cycle(row.text for row in read_folder(CORPUS))
    for index in range(files):
        into = folder / f"{index // 1000:03d}"
        if not index % 1000:
            into.mkdir(parents=True)
        said = [] if index % _TALKING else [_line(0, next(texts))]
        content = json.dumps({"call": index, "sentences": said}, ensure_ascii=False)
        (into / f"{index:06d}.json").write_text(content, "utf8")


def _line(index: int, text: str) -> dict[str, object]:
    speaker = "borrower" if index % 3 == 2 else "collector"
    return {"speaker": speaker, "start": 3.0 * index, "end": 3.0 * index + 2.5, "text": text}


def utterances_of(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Of all transcripts, each with what was said before it."""
    texts: list[str] = []
    previous: list[list[str]] = []
    for path in sorted(folder.iterdir()):
        said = [json.loads(line)["text"] for line in path.read_text("utf8").splitlines()]
        texts += said
        previous += [said[max(0, i - PREVIOUS_TURNS) : i] for i in range(len(said))]
    return texts, previous


def main() -> None:
    texts, previous = utterances_of(Path(sys.argv[1]))
    classifier = Classifier()
    classifier(texts[:_AT_ONCE], previous[:_AT_ONCE])  # what is set up only once
    began, before = time.perf_counter(), getrusage(RUSAGE_SELF)
    for start in range(0, len(texts), _AT_ONCE):
        classifier(texts[start : start + _AT_ONCE], previous[start : start + _AT_ONCE])
    wall_s, after = time.perf_counter() - began, getrusage(RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main()
