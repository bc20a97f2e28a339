"""A bundle, and the keys that one trusts -> what holds, what is broken, and what nobody can tell from it."""

import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from tempfile import TemporaryFile
from typing import IO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509 import Certificate
from pydantic import ValidationError

from pipelines.evidence.container import Entry, chunks_of, first_difference, write_container
from pipelines.evidence.errors import NotAKey
from pipelines.evidence.faults import Claim, Fault, Statement, Wrong
from pipelines.evidence.manifest import MANIFEST, NAME, REPORT, SIGNATURE, SUMS, TIMESTAMP, FilePart, Manifest, sums
from pipelines.evidence.signature import fingerprint, read_public_key, signed_by
from pipelines.evidence.timestamp import WrongTimestamp, check
from pipelines.report import Report

_LOCAL = b"PK\x03\x04"
_END = b"PK\x05\x06"
_END_WITHIN = 22 + 65_535  # bytes; with the longest comment
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class VerifyLimits:
    """The most that a bundle from a stranger may be."""

    largest_bytes: int = 8 * 1024**3
    entries: int = 20_000
    read_into_memory: int = 64 * 1024**2  # of manifest, report and the like


@dataclass(frozen=True, slots=True)
class Verification:
    """`whole` only if nothing is broken, which takes a signature by a key that is trusted."""

    faults: tuple[Fault, ...]
    holds: tuple[Statement, ...]
    unknown: tuple[Statement, ...]  # what nobody can tell from this bundle
    manifest: Manifest | None = None  # if it can be read; not to be believed unless whole

    @property
    def whole(self) -> bool:
        return not self.faults


def verify(
    path: Path,
    keys: Sequence[Ed25519PublicKey],
    *,
    timestamp_roots: Sequence[Certificate] = (),
    limits: VerifyLimits = VerifyLimits(),
) -> Verification:
    """Raises nothing for what is wrong with the file: all of it is told as faults."""
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            return _hopeless(Fault(Wrong.UNREADABLE, detail="it is no file"))
        if not status.st_size:
            return _hopeless(Fault(Wrong.EMPTY))
        if status.st_size > limits.largest_bytes:
            return _hopeless(Fault(Wrong.TOO_LARGE, detail=str(limits.largest_bytes)))
        with path.open("rb") as file:
            return _Inspection(file, status.st_size, keys, timestamp_roots, limits).result()
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        return _hopeless(Fault(Wrong.UNREADABLE, detail=getattr(error, "strerror", None) or "its name"))


def _hopeless(fault: Fault) -> Verification:
    return Verification((fault,), (), ())


@dataclass(slots=True)
class _Inspection:
    """Goes from the outside in; what can still be checked after a fault is."""

    file: IO[bytes]
    size: int
    keys: Sequence[Ed25519PublicKey]
    roots: Sequence[Certificate]
    limits: VerifyLimits
    faults: list[Fault] = field(default_factory=list)
    holds: list[Statement] = field(default_factory=list)
    unknown: list[Statement] = field(default_factory=list)

    def result(self) -> Verification:
        manifest = None
        try:
            with ZipFile(self.file) as zipped:
                manifest = self._opened(zipped)
        except (BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error, OverflowError):
            self.faults.append(self._no_zip())
        if manifest:
            self.unknown += [Statement(Claim.ORIGIN_UNKNOWN), Statement(Claim.FINDINGS_FALLIBLE)]
        return Verification(tuple(self.faults), tuple(self.holds), tuple(self.unknown), manifest)

    def _no_zip(self) -> Fault:
        self.file.seek(0)
        if self.file.read(len(_LOCAL)) != _LOCAL:
            return Fault(Wrong.NOT_A_ZIP)
        self.file.seek(max(0, self.size - _END_WITHIN))
        return Fault(Wrong.DAMAGED if _END in self.file.read(_END_WITHIN) else Wrong.TRUNCATED)

    def _opened(self, zipped: ZipFile) -> Manifest | None:
        infos = zipped.infolist()
        if not self._safe(infos):
            return None
        found = {info.filename: info for info in infos}
        digests = dict(self._digests(zipped, found))
        manifest = self._manifest(zipped, found)
        if manifest:
            self._signature(zipped, found, manifest)
            self._files(manifest, found, digests)
            self._contents(zipped, found, manifest)
        if len(digests) == len(infos):
            self._container(zipped, infos)
        return manifest

    def _safe(self, infos: Sequence[ZipInfo]) -> bool:
        """Whether the entries can be read without harm and each by its one name."""
        if len(infos) > self.limits.entries:
            self.faults.append(Fault(Wrong.TOO_MANY_ENTRIES, detail=str(len(infos))))
            return False
        before = len(self.faults)
        for name, times in Counter(info.filename for info in infos).items():
            if not NAME.fullmatch(name):
                self.faults.append(Fault(Wrong.BAD_NAME, _shown(name)))
            elif times > 1:
                self.faults.append(Fault(Wrong.DUPLICATE, name))
        for info in infos:
            if info.flag_bits & _ENCRYPTED:
                self.faults.append(Fault(Wrong.ENCRYPTED, _shown(info.filename)))
            elif info.compress_type != ZIP_STORED or info.compress_size != info.file_size:
                self.faults.append(Fault(Wrong.COMPRESSED, _shown(info.filename)))
        if sum(info.compress_size for info in infos) > self.size:
            self.faults.append(Fault(Wrong.OVERLAPPING))
        return len(self.faults) == before

    def _digests(self, zipped: ZipFile, found: Mapping[str, ZipInfo]) -> Iterator[tuple[str, FilePart]]:
        for name, info in found.items():
            digest, size = hashlib.sha256(), 0
            try:
                with zipped.open(info) as entry:
                    for chunk in chunks_of(entry):
                        digest.update(chunk)
                        size += len(chunk)
            except _UNREADABLE:
                self.faults.append(Fault(Wrong.ENTRY_UNREADABLE, name))
                continue
            yield name, FilePart(name=name, bytes=size, sha256=digest.hexdigest())

    def _read(self, zipped: ZipFile, info: ZipInfo) -> bytes | None:
        """None: cannot be read, which was told already, or is beyond what a bundle has."""
        try:
            with zipped.open(info) as entry:
                content = entry.read(self.limits.read_into_memory + 1)
        except _UNREADABLE:
            return None
        return content if len(content) <= self.limits.read_into_memory else None

    def _manifest(self, zipped: ZipFile, found: Mapping[str, ZipInfo]) -> Manifest | None:
        if MANIFEST not in found:
            self.faults.append(Fault(Wrong.NO_MANIFEST))
            return None
        content = self._read(zipped, found[MANIFEST])
        if content is None:
            self.faults.append(Fault(Wrong.MANIFEST_UNREADABLE, detail="it cannot be read from the ZIP"))
            return None
        try:
            return Manifest.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            self.faults.append(Fault(Wrong.MANIFEST_UNREADABLE, detail=_shown(f"{place}: {first['msg']}".strip(": "))))
            return None

    def _signature(self, zipped: ZipFile, found: Mapping[str, ZipInfo], manifest: Manifest) -> None:
        if SIGNATURE not in found:
            self.faults.append(Fault(Wrong.NO_SIGNATURE))
            return
        signature, message = self._read(zipped, found[SIGNATURE]), self._read(zipped, found[MANIFEST])
        if signature is None or message is None:
            return
        for key in self.keys:
            if signed_by(key, signature, message):
                self.holds.append(Statement(Claim.SIGNED, fingerprint(key)))
                return
        try:
            named = read_public_key(manifest.public_key)
        except NotAKey:
            self.faults.append(Fault(Wrong.SIGNATURE_WRONG))
            return
        if signed_by(named, signature, message):
            self.faults.append(Fault(Wrong.UNKNOWN_KEY, fingerprint(named)))
            self.holds.append(Statement(Claim.SIGNED_BY_UNKNOWN, fingerprint(named)))
        else:
            self.faults.append(Fault(Wrong.SIGNATURE_WRONG))

    def _files(self, manifest: Manifest, found: Mapping[str, ZipInfo], digests: Mapping[str, FilePart]) -> None:
        before = len(self.faults)
        listed = {part.name: part for part in manifest.files}
        missing = [part for name, part in listed.items() if name not in found]
        extra = {name for name in found if name not in listed and name not in (MANIFEST, SIGNATURE)}
        for part in missing:
            same = (n for n in sorted(extra) if n in digests and digests[n].sha256 == part.sha256)
            if renamed := next(same, None):
                extra.discard(renamed)
                self.faults.append(Fault(Wrong.RENAMED, part.name, renamed))
            else:
                self.faults.append(Fault(Wrong.MISSING, part.name))
        self.faults += [Fault(Wrong.EXTRA, name) for name in sorted(extra)]
        for name, part in listed.items():
            if (is_ := digests.get(name)) and is_ != part:
                self.faults.append(Fault(Wrong.CHANGED, name, _how(part, is_)))
        if len(self.faults) == before and len(digests) == len(found):
            self.holds.append(Statement(Claim.FILES_UNCHANGED, detail=str(len(listed))))

    def _contents(self, zipped: ZipFile, found: Mapping[str, ZipInfo], manifest: Manifest) -> None:
        listed = {part.name: part for part in manifest.files}
        told = self._read(zipped, found[SUMS]) if SUMS in found else None
        if told is not None and told != sums(manifest.files):
            self.faults.append(Fault(Wrong.SUMS_DIFFER))
        report = self._read(zipped, found[REPORT]) if REPORT in found else None
        if report is not None and manifest.recording in listed:
            self._report(report, listed[manifest.recording])
        if TIMESTAMP not in found:
            self.unknown.append(Statement(Claim.NO_STAMP))
            return
        token = self._read(zipped, found[TIMESTAMP])
        if token is not None and told is not None:
            self._timestamp(token, told)

    def _report(self, content: bytes, recording: FilePart) -> None:
        try:
            report = Report.model_validate_json(content)
        except ValidationError:
            self.faults.append(Fault(Wrong.REPORT_UNREADABLE))
            return
        if report.recording.sha256 != recording.sha256:
            self.faults.append(Fault(Wrong.OTHER_RECORDING, recording.name))
        else:
            self.holds.append(Statement(Claim.REPORT_OF_RECORDING, recording.sha256))

    def _timestamp(self, token: bytes, told: bytes) -> None:
        try:
            stamped = check(token, told, self.roots)
        except WrongTimestamp as error:
            self.faults.append(Fault(Wrong.TIMESTAMP_WRONG, detail=str(error)))
            return
        at = stamped.at.isoformat()
        if stamped.trusted:
            self.holds.append(Statement(Claim.STAMPED, detail=at))
        else:
            self.unknown.append(Statement(Claim.STAMP_NOT_CHECKED, detail=at))

    def _container(self, zipped: ZipFile, infos: Sequence[ZipInfo]) -> None:
        """The same entries packed anew give the same bytes, or something around them was changed."""
        with TemporaryFile() as anew:
            entries = (Entry(i.filename, i.file_size, _again(zipped, i)) for i in sorted(infos, key=_by_name))
            write_container(entries, anew)
            whole = anew.tell()
            at = first_difference(self.file, anew)
        if at is None:
            self.holds.append(Statement(Claim.CONTAINER_WHOLE))
        else:
            self.faults.append(self._where(at, whole, infos))

    def _where(self, at: int, whole: int, infos: Sequence[ZipInfo]) -> Fault:
        self.file.seek(0)
        if self.size > whole and self.file.read(4) != _LOCAL:
            return Fault(Wrong.LEADING_BYTES, detail=str(self.size - whole))
        if self.size > whole and at >= whole - 2:  # the length of a comment stands in the last two bytes
            return Fault(Wrong.TRAILING_BYTES, detail=str(self.size - whole))
        before = [info for info in sorted(infos, key=lambda info: info.header_offset) if info.header_offset <= at]
        last = max(infos, key=lambda info: info.header_offset)
        beyond = at >= last.header_offset + 30 + len(last.filename) + last.file_size
        place = "the directory at its end" if beyond or not before else f"the header of {before[-1].filename}"
        return Fault(Wrong.CONTAINER_CHANGED, place, str(at))


_UNREADABLE = (BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError, struct.error, zlib.error)


def _by_name(info: ZipInfo) -> str:
    return info.filename


def _again(zipped: ZipFile, info: ZipInfo) -> Iterator[bytes]:
    with zipped.open(info) as entry:
        yield from chunks_of(entry)


def _how(listed: FilePart, found: FilePart) -> str:
    if listed.bytes != found.bytes:
        return f"it has {found.bytes} bytes and should have {listed.bytes}"
    return f"its SHA-256 is {found.sha256} and should be {listed.sha256}"


def _shown(text: str) -> str:
    """Fit for a terminal and a page, whatever was put into a name."""
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return shown if len(shown) <= 200 else f"{shown[:200]}..."
