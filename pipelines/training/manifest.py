"""Lines that name recordings and what is said in them -> clips of speech, kept as PCM on disk."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.call import SAMPLE_RATE
from models.errors import CallError
from pipelines.decode import decode
from pipelines.training.new_file import file_written_whole
from pipelines.training.telephone import Samples

LONGEST_S = 30.0
_SCALE = 32_767


class BadManifest(Exception):
    """The message names the file, the line, what is wrong and what to do."""


class Row(BaseModel):
    """One line of the manifest."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    audio: str = Field(min_length=1, description="Path, from the manifest's folder if it is not absolute")
    text: str = Field(min_length=1)
    start: float = Field(default=0.0, ge=0, description="Seconds")
    end: float | None = Field(default=None, gt=0)
    channel: int = Field(default=0, ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> "Row":
        if self.end is not None and self.end <= self.start:
            raise ValueError("'end' must lie after 'start'")
        return self


@dataclass(frozen=True, slots=True)
class Clips:
    """Texts with their sound, which stays on disk."""

    texts: tuple[str, ...]
    bounds: tuple[tuple[int, int], ...]  # samples in the file
    file: Path  # int16 at 16 kHz
    sha256: str  # of the manifest and of all sound

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def seconds(self) -> float:
        return sum(end - start for start, end in self.bounds) / SAMPLE_RATE

    def samples(self, index: int) -> Samples:
        start, end = self.bounds[index]
        pcm = np.fromfile(self.file, np.int16, end - start, offset=2 * start)
        return (pcm / _SCALE).astype(np.float32)


def read_manifest(manifest: Path) -> list[Row]:
    """Raises BadManifest naming the first line that is wrong."""
    if not manifest.is_file():
        raise BadManifest(f"{manifest}: no such file; give a JSONL file with audio, text, and if need be start and end")
    written, rows = manifest.read_bytes(), []
    try:
        lines = written.decode().splitlines()
    except UnicodeDecodeError as error:
        number = written.count(b"\n", 0, error.start) + 1
        raise BadManifest(f"{manifest}, line {number}: not UTF-8; save the file as UTF-8") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "the line"
            raise BadManifest(f"{manifest}, line {number}: {where}: {fault['msg']}") from None
    if not rows:
        raise BadManifest(f"{manifest} has no lines; nothing can be learned from it")
    return rows


def cut(manifest: Path, folder: Path, progress: Callable[[float], None] | None = None) -> Clips:
    """Decodes each recording once and keeps the clips in `folder`; done before, it is not done again.

    Raises BadManifest for recordings that cannot be read and clips longer than 30 s.
    """
    rows = read_manifest(manifest)
    known = hashlib.sha256(manifest.read_bytes()).hexdigest()
    index, sound = _files(folder)
    if index.is_file() and (found := json.loads(index.read_text("utf8")))["manifest"] == known:
        bounds = tuple((start, end) for start, end in found["bounds"])
        return Clips(tuple(found["texts"]), bounds, sound, found["sha256"])
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(known.encode())
    places: list[tuple[int, int]] = []
    texts: list[str] = []
    index.unlink(missing_ok=True)  # or it would tell of the sound that is replaced
    with file_written_whole(sound) as unfinished, unfinished.open("wb") as out:
        for audio, group in groupby(sorted(rows, key=lambda row: row.audio), key=lambda row: row.audio):
            for text, samples in _clips_of(manifest, audio, list(group)):
                pcm = (np.clip(samples, -1, 1) * _SCALE).astype(np.int16)
                start = places[-1][1] if places else 0
                places.append((start, start + pcm.size))
                texts.append(text)
                digest.update(pcm.tobytes())
                out.write(pcm.tobytes())
            if progress:
                progress(len(texts) / len(rows))
    sha256 = digest.hexdigest()
    told = {"manifest": known, "sha256": sha256, "texts": texts, "bounds": places}
    with file_written_whole(index) as unfinished:
        unfinished.write_text(json.dumps(told, ensure_ascii=False), "utf8")
    return Clips(tuple(texts), tuple(places), sound, sha256)


def discard(folder: Path) -> None:
    """What `cut` keeps there, and nothing else."""
    for file in _files(folder):
        file.unlink(missing_ok=True)


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "clips.json", folder / "clips.pcm"


def _clips_of(manifest: Path, audio: str, rows: Sequence[Row]) -> list[tuple[str, Samples]]:
    found = []
    try:
        with decode(manifest.parent / audio) as recording:
            for row in rows:
                if row.channel >= len(recording.channels):
                    raise BadManifest(f"{manifest}: {audio} has no channel {row.channel}")
                samples = recording.channels[row.channel].samples
                end = len(samples) if row.end is None else round(row.end * SAMPLE_RATE)
                clip = samples.read(round(row.start * SAMPLE_RATE), end)
                if not 0 < clip.size <= LONGEST_S * SAMPLE_RATE:
                    raise BadManifest(
                        f"{manifest}: {audio} from {row.start:g} s is {clip.size / SAMPLE_RATE:.1f} s long; "
                        f"give clips of up to {LONGEST_S:.0f} s with 'start' and 'end'"
                    )
                found.append((row.text, clip))
    except CallError as error:
        raise BadManifest(f"{manifest}: {audio}: {error}") from error
    return found
