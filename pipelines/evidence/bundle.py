"""Recording, report and custody log -> one signed ZIP that can be checked without this program. See docs/evidence.md.

The same input gives the same bytes: no clock is read and nothing is drawn by chance. Only a timestamp differs each
time that an authority gives one.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from tempfile import NamedTemporaryFile

from pipelines.decode import DecodeLimits, decode
from pipelines.evidence import printed
from pipelines.evidence.clips import clip, clip_name
from pipelines.evidence.container import Entry, chunks_of, write_container
from pipelines.evidence.errors import EvidenceError, OtherRecording
from pipelines.evidence.exhibit import Correction, CustodyEvent, Stated
from pipelines.evidence.fonts import FindFont, Font, find_font
from pipelines.evidence.manifest import (
    MANIFEST,
    REPORT,
    SIGNATURE,
    SUMS,
    TIMESTAMP,
    FilePart,
    Manifest,
    PrintedPart,
    sums,
)
from pipelines.evidence.signature import Signer, fingerprint, pem
from pipelines.evidence.staging import Staging
from pipelines.evidence.timestamp import Stamp
from pipelines.evidence.transcript import as_srt, as_text
from pipelines.evidence.waveform import waveform
from pipelines.report import Report, accused
from pipelines.version import installed_version

NO_FONT = (
    "no Chinese font was found among the system's fonts, so the report is a page and no PDF; "
    "install Debian's fonts-noto-cjk to get a PDF"
)
NOTHING_STATED = Stated()
DEFAULT_LIMITS = DecodeLimits()
_WITHOUT_TIME = datetime(1980, 1, 1, tzinfo=UTC)
_SUFFIX = re.compile(r"\.([A-Za-z0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bundled:
    """What was written. `manifest` is as it stands in the ZIP."""

    path: Path
    manifest: Manifest


def bundle(
    recording: Path,
    report: Report,
    custody: Sequence[CustodyEvent],
    signer: Signer,
    out: Path,
    *,
    stated: Stated = NOTHING_STATED,
    corrections: Sequence[Correction] = (),
    stamp: Stamp | None = None,
    limits: DecodeLimits = DEFAULT_LIMITS,
    find_font: FindFont = find_font,
) -> Bundled:
    """Writes `out` whole or not at all.

    `recording`: the file as received; `stated.file_name` gives its copy its suffix, else its own name does.
    Raises OtherRecording if the report is about other bytes, EvidenceError if a correction is of no utterance or the
    timestamp authority gives no token, CallError if the recording cannot be decoded, OSError if `out` cannot be
    written.
    """
    for correction in corrections:
        if correction.utterance >= len(report.utterances):
            raise EvidenceError(f"a correction is of utterance {correction.utterance}, which the report does not have")
    with decode(recording, limits) as decoded, Staging() as staging:
        if decoded.sha256 != report.recording.sha256:
            raise OtherRecording(decoded.sha256, report.recording.sha256)
        original = FilePart(
            name=_name_of(recording, stated), bytes=recording.stat().st_size, sha256=report.recording.sha256
        )
        parts = [
            original,
            staging.put(REPORT, (report.model_dump_json(indent=1) + "\n").encode()),
            staging.put("stated.json", (stated.model_dump_json(indent=1) + "\n").encode()),
            staging.put("custody.json", _json([event.model_dump(mode="json") for event in custody])),
            staging.put("corrections.json", _json([correction.model_dump(mode="json") for correction in corrections])),
            staging.put("transcript.txt", as_text(report, corrections).encode()),
            staging.put("transcript.srt", as_srt(report).encode()),
            staging.put("README.txt", (files("pipelines.evidence") / "bundled_readme.txt").read_bytes()),
            *(staging.put(clip_name(said), clip(decoded, said)) for said in accused(report.utterances)),
        ]
        font = find_font()
        shown, told = _on_paper(
            printed.paper(report, waveform(decoded, report), stated, corrections, custody, font=font), font, custody
        )
        parts.append(staging.put(told.file, shown))
        listed = sums(sorted(parts, key=lambda part: part.name))
        parts.append(staging.put(SUMS, listed))
        if stamp is not None:
            parts.append(staging.put(TIMESTAMP, stamp(listed)))
        manifest = Manifest(
            made_with=f"callaudit {installed_version()}",
            recording=original.name,
            printed=told,
            public_key=pem(signer.public_key),
            key_sha256=fingerprint(signer.public_key),
            files=tuple(sorted(parts, key=lambda part: part.name)),
        )
        sealed = [*parts, staging.put(MANIFEST, manifest.canonical())]
        sealed.append(staging.put(SIGNATURE, signer.sign(manifest.canonical())))

        def content(part: FilePart) -> Iterator[bytes]:
            return _recording_again(recording, part) if part is original else staging.read(part.name)

        entries = (Entry(part.name, part.bytes, content(part)) for part in sorted(sealed, key=lambda part: part.name))
        _write_whole(entries, out)
    return Bundled(out, manifest)


def _on_paper(shown: printed.Paper, font: Font | None, custody: Sequence[CustodyEvent]) -> tuple[bytes, PrintedPart]:
    if font is None:
        return printed.as_html(shown, NO_FONT), PrintedPart(file="report.html", why_no_pdf=NO_FONT)
    at = max((event.at.astimezone(UTC) for event in custody), default=_WITHOUT_TIME)
    return printed.as_pdf(shown, font, at.replace(microsecond=0)), PrintedPart(file="report.pdf")


def _recording_again(recording: Path, part: FilePart) -> Iterator[bytes]:
    """Raises OtherRecording if the file was changed since it was decoded."""
    digest = hashlib.sha256()
    with recording.open("rb") as file:
        for chunk in chunks_of(file):
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != part.sha256:
        raise OtherRecording(digest.hexdigest(), part.sha256)


def _write_whole(entries: Iterator[Entry], out: Path) -> None:
    with NamedTemporaryFile(dir=out.parent, prefix=f".{out.name[:50]}.", delete=False) as file:
        try:
            write_container(entries, file)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(out)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(file.name).unlink()
            raise


def _name_of(recording: Path, stated: Stated) -> str:
    suffix = _SUFFIX.fullmatch(Path(stated.file_name or recording.name).suffix)
    return f"recording.{suffix[1].lower() if suffix else 'bin'}"


def _json(parts: object) -> bytes:
    return (json.dumps(parts, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
