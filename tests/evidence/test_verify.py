"""Bundles that were tampered with: each is told for what was done to it."""

import io
import random
import struct
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.signing import KeyFile
from pipelines.evidence.container import Entry, write_container
from pipelines.evidence.faults import Claim, Fault, Wrong
from pipelines.evidence.manifest import FilePart, Manifest, sums
from pipelines.evidence.signature import fingerprint, pem
from pipelines.evidence.verify import Verification, VerifyLimits, verify
from tests.conftest import write_tone
from tests.evidence.conftest import Maker, report_on

Files = dict[str, bytes]
CLIP = "clips/0001-threat.wav"
STRANGER = KeyFile(Ed25519PrivateKey.from_private_bytes(b"s" * 32))


def test_untouched_bundle_is_whole_and_says_what_holds_and_what_nobody_can_tell(maker: Maker, bundled: Path) -> None:
    found = verify(bundled, [maker.public_key])
    assert found.whole
    assert found.faults == ()
    assert {s.claim for s in found.holds} == {
        Claim.SIGNED,
        Claim.FILES_UNCHANGED,
        Claim.REPORT_OF_RECORDING,
        Claim.CONTAINER_WHOLE,
    }
    assert {s.claim for s in found.unknown} == {Claim.NO_STAMP, Claim.ORIGIN_UNKNOWN, Claim.FINDINGS_FALLIBLE}


def read(path: Path) -> Files:
    with ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(files: Mapping[str, bytes]) -> bytes:
    """As callaudit packs them, so that only the files tell what was done."""
    held = io.BytesIO()
    write_container([Entry(name, len(content), [content]) for name, content in sorted(files.items())], held)
    return held.getvalue()


def repacked(files: Mapping[str, bytes], change: Callable[[ZipInfo], None], compression: int = ZIP_STORED) -> bytes:
    """With every entry's header changed by hand."""
    held = io.BytesIO()
    with ZipFile(held, "w", compression) as out:
        for name, content in sorted(files.items()):
            told = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            told.create_system, told.external_attr, told.compress_type = 3, 0o100644 << 16, compression
            change(told)
            out.writestr(told, content)
    return held.getvalue()


def signed_anew(files: Files, key: KeyFile) -> Files:
    """With a manifest that fits the files, and a signature that fits the manifest."""
    listed = {n: c for n, c in files.items() if n not in ("manifest.json", "manifest.sig")}

    def part(name: str) -> FilePart:
        return FilePart(name=name, bytes=len(listed[name]), sha256=sha256(listed[name]).hexdigest())

    listed["SHA256SUMS"] = sums([part(name) for name in sorted(listed)])
    manifest = Manifest.model_validate_json(files["manifest.json"]).model_copy(
        update={"files": tuple(part(name) for name in sorted(listed))}
    )
    return {**listed, "manifest.json": manifest.canonical(), "manifest.sig": key.sign(manifest.canonical())}


def flipped(content: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    return bytes(changed)


class Bench:
    """What a tamperer has: the bundle, its files, and another bundle by the same signer."""

    def __init__(self, content: bytes, files: Files, other: Files, key: KeyFile) -> None:
        self.content, self.files, self.other, self.key = content, files, other, key


@pytest.fixture(scope="module")
def bench(maker: Maker, bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("other")
    write_tone(folder / "other.wav", 9.0, pitch=300)
    other = Maker(folder / "other.wav", report_on(folder / "other.wav"), maker.key)(folder / "other.zip")
    return Bench(bundled.read_bytes(), read(bundled), read(other), maker.key)


Tampering = Callable[[Bench], bytes]
Told = set[tuple[Wrong, str]]
ALL_CHANGED = {"SHA256SUMS", "clips/0001-threat.wav", "clips/0003-third_party_contact.wav", "recording.wav"} | {
    "report.html",
    "report.json",
}


def without(name: str) -> Tampering:
    return lambda bench: packed({n: c for n, c in bench.files.items() if n != name})


def added(name: str, content: bytes = b"x") -> Tampering:
    return lambda bench: packed({**bench.files, name: content})


def edited(name: str, old: bytes, new: bytes) -> Tampering:
    def tamper(bench: Bench) -> bytes:
        assert old in bench.files[name]
        return packed({**bench.files, name: bench.files[name].replace(old, new)})

    return tamper


def flip_in_place(bench: Bench) -> bytes:
    at = bench.content.index(bench.files["recording.wav"]) + 70_000
    return flipped(bench.content, at)


def other_recording(bench: Bench) -> bytes:
    return packed({**bench.files, "recording.wav": bench.other["recording.wav"]})


def recording_and_manifest(bench: Bench) -> bytes:
    forged = signed_anew({**bench.files, "recording.wav": bench.other["recording.wav"]}, bench.key)
    return packed({**forged, "manifest.sig": bench.files["manifest.sig"]})


def resigned_by_stranger(bench: Bench) -> bytes:
    files = {**bench.files, "transcript.txt": b"nothing was said\n"}
    manifest = Manifest.model_validate_json(files["manifest.json"])
    public = STRANGER.public_key
    changed = manifest.model_copy(update={"public_key": pem(public), "key_sha256": fingerprint(public)})
    return packed(signed_anew({**files, "manifest.json": changed.canonical()}, STRANGER))


def stranger_under_the_signers_name(bench: Bench) -> bytes:
    return packed(signed_anew(bench.files, STRANGER))


def manifest_of_another(bench: Bench) -> bytes:
    return packed(
        {
            **bench.files,
            "manifest.json": bench.other["manifest.json"],
            "manifest.sig": bench.other["manifest.sig"],
        }
    )


def signed_report_of_another(bench: Bench) -> bytes:
    return packed(signed_anew({**bench.files, "report.json": bench.other["report.json"]}, bench.key))


def signed_report_that_is_none(bench: Bench) -> bytes:
    return packed(signed_anew({**bench.files, "report.json": b"{}"}, bench.key))


def swapped_clips(bench: Bench) -> bytes:
    one, two = CLIP, "clips/0003-third_party_contact.wav"
    return packed({**bench.files, one: bench.files[two], two: bench.files[one]})


def renamed(bench: Bench) -> bytes:
    files = dict(bench.files)
    files["clips/0002-threat.wav"] = files.pop(CLIP)
    return packed(files)


def duplicated(bench: Bench) -> bytes:
    held = io.BytesIO(bench.content)
    with pytest.warns(UserWarning, match="Duplicate name"), ZipFile(held, "a") as out:
        out.writestr("report.json", b"{}")
    return held.getvalue()


def bomb(bench: Bench) -> bytes:
    held = io.BytesIO(bench.content)
    with ZipFile(held, "a", ZIP_DEFLATED) as out:
        out.writestr("clips/9999-threat.wav", bytes(100 * 1024**2))
    assert len(held.getvalue()) < len(bench.content) + 1024**2
    return held.getvalue()


def overlapping(bench: Bench) -> bytes:
    """Every entry of the directory points at one and the same file in the ZIP."""
    held = io.BytesIO()
    with ZipFile(held, "w") as out:
        out.writestr("clips/0000-threat.wav", bytes(1024**2))
        first = out.infolist()[0]
        for number in range(1, 1000):
            copy = ZipInfo(f"clips/{number:04d}-threat.wav")
            copy.header_offset, copy.CRC = first.header_offset, first.CRC
            copy.file_size = copy.compress_size = first.file_size
            out.filelist.append(copy)
    return held.getvalue()


def encrypted(bench: Bench) -> bytes:
    """The flag alone, in the directory's first entry."""
    at = bench.content.index(b"PK\x01\x02") + 8
    return bench.content[:at] + struct.pack("<H", 1) + bench.content[at + 2 :]


def local_name(bench: Bench) -> bytes:
    """Programs that read a ZIP as a stream see another name than those that read its directory."""
    at = bench.content.index(b"report.json" + bench.files["report.json"])
    return bench.content[:at] + b"retort.json" + bench.content[at + len("report.json") :]


def reordered(bench: Bench) -> bytes:
    held = io.BytesIO()
    backwards = sorted(bench.files.items(), reverse=True)
    write_container([Entry(name, len(content), [content]) for name, content in backwards], held)
    return held.getvalue()


def hidden_between(bench: Bench) -> bytes:
    """Bytes between the last file and the directory; the directory's offset is put right."""
    at = bench.content.index(b"PK\x01\x02")
    offset_at = len(bench.content) - 22 + 16
    content = bytearray(bench.content[:at] + b"hidden" + bench.content[at:])
    struct.pack_into("<I", content, offset_at + 6, at + 6)
    return bytes(content)


def date(told: ZipInfo) -> None:
    told.date_time = (2026, 3, 1, 12, 0, 0)


def link(told: ZipInfo) -> None:
    told.external_attr = 0o120777 << 16


def extra_field(told: ZipInfo) -> None:
    told.extra = struct.pack("<HH4s", 0x9999, 4, b"spam")


def comment_on_an_entry(told: ZipInfo) -> None:
    told.comment = b"spam"


def unchanged(told: ZipInfo) -> None:
    pass


def commented(bench: Bench) -> bytes:
    held = io.BytesIO(bench.content)
    with ZipFile(held, "a") as out:
        out.comment = b"spam"
    return held.getvalue()


HEADER = (Wrong.CONTAINER_CHANGED, "the header of README.txt")
DIRECTORY = (Wrong.CONTAINER_CHANGED, "the directory at its end")

TAMPERINGS: dict[str, tuple[Tampering, Told]] = {
    "one bit of the recording": (flip_in_place, {(Wrong.ENTRY_UNREADABLE, "recording.wav")}),
    "another recording": (other_recording, {(Wrong.CHANGED, "recording.wav")}),
    "another recording, and a manifest that fits it": (
        recording_and_manifest,
        {(Wrong.SIGNATURE_WRONG, ""), (Wrong.OTHER_RECORDING, "recording.wav")},
    ),
    "a label in report.json": (
        edited("report.json", b'"label": "threat"', b'"label": "insult"'),
        {(Wrong.CHANGED, "report.json")},
    ),
    "a word in transcript.txt": (
        edited("transcript.txt", "打断".encode(), "看看".encode()),
        {(Wrong.CHANGED, "transcript.txt")},
    ),
    "a time in custody.json": (edited("custody.json", b"2026", b"2025"), {(Wrong.CHANGED, "custody.json")}),
    "the lender in stated.json": (
        edited("stated.json", "某某".encode(), "别家".encode()),
        {(Wrong.CHANGED, "stated.json")},
    ),
    "the page cut short": (edited("report.html", b"</html>", b""), {(Wrong.CHANGED, "report.html")}),
    "a hash in SHA256SUMS": (
        edited("SHA256SUMS", b"  recording.wav", b"0  recording.wav"),
        {(Wrong.CHANGED, "SHA256SUMS"), (Wrong.SUMS_DIFFER, "")},
    ),
    "a clip taken out": (without(CLIP), {(Wrong.MISSING, CLIP)}),
    "the recording taken out": (without("recording.wav"), {(Wrong.MISSING, "recording.wav")}),
    "the manifest taken out": (without("manifest.json"), {(Wrong.NO_MANIFEST, "")}),
    "the signature taken out": (without("manifest.sig"), {(Wrong.NO_SIGNATURE, "")}),
    "a clip put in": (added("clips/0002-insult.wav"), {(Wrong.EXTRA, "clips/0002-insult.wav")}),
    "a program put in": (added("report.exe"), {(Wrong.EXTRA, "report.exe")}),
    "a clip renamed": (renamed, {(Wrong.RENAMED, CLIP)}),
    "two clips exchanged": (
        swapped_clips,
        {(Wrong.CHANGED, CLIP), (Wrong.CHANGED, "clips/0003-third_party_contact.wav")},
    ),
    "a file twice": (duplicated, {(Wrong.DUPLICATE, "report.json")}),
    "a name that leads out of the folder": (added("../evil"), {(Wrong.BAD_NAME, "../evil")}),
    "a name that leads out of a folder inside": (added("clips/../../evil"), {(Wrong.BAD_NAME, "clips/../../evil")}),
    "an absolute name": (added("/etc/passwd"), {(Wrong.BAD_NAME, "/etc/passwd")}),
    "a name of another system": (added("C:\\evil.txt"), {(Wrong.BAD_NAME, "C:\\evil.txt")}),
    "a name that is turned around": (added("report\u202efdp.exe"), {(Wrong.BAD_NAME, "report\\u202efdp.exe")}),
    "a name that looks like another": (added("rероrt.pdf"), {(Wrong.BAD_NAME, "rероrt.pdf")}),
    "a folder": (added("clips/", b""), {(Wrong.BAD_NAME, "clips/")}),
    "the manifest of another bundle": (
        manifest_of_another,
        {(Wrong.CHANGED, name) for name in ALL_CHANGED}
        | {(Wrong.SUMS_DIFFER, ""), (Wrong.OTHER_RECORDING, "recording.wav")},
    ),
    "a bit of the signature": (
        lambda b: packed({**b.files, "manifest.sig": flipped(b.files["manifest.sig"], 40)}),
        {(Wrong.SIGNATURE_WRONG, "")},
    ),
    "half of the signature": (
        lambda b: packed({**b.files, "manifest.sig": b.files["manifest.sig"][:32]}),
        {(Wrong.SIGNATURE_WRONG, "")},
    ),
    "signed anew by a stranger": (resigned_by_stranger, {(Wrong.UNKNOWN_KEY, fingerprint(STRANGER.public_key))}),
    "signed by a stranger in the signer's name": (stranger_under_the_signers_name, {(Wrong.SIGNATURE_WRONG, "")}),
    "a manifest with other spaces": (edited("manifest.json", b"\n", b"\r\n"), {(Wrong.SIGNATURE_WRONG, "")}),
    "a manifest that is no JSON": (added("manifest.json", b"\xff{"), {(Wrong.MANIFEST_UNREADABLE, "")}),
    "a manifest of another format": (
        edited("manifest.json", b"callaudit evidence 1", b"callaudit evidence 9"),
        {(Wrong.MANIFEST_UNREADABLE, "")},
    ),
    "a report of another recording, well signed": (
        signed_report_of_another,
        {(Wrong.OTHER_RECORDING, "recording.wav")},
    ),
    "a report that is none, well signed": (signed_report_that_is_none, {(Wrong.REPORT_UNREADABLE, "")}),
    "packed again with compression": (
        lambda b: repacked(b.files, unchanged, ZIP_DEFLATED),
        {(Wrong.COMPRESSED, "manifest.json"), (Wrong.COMPRESSED, "recording.wav")},
    ),
    "a bomb that swells": (bomb, {(Wrong.COMPRESSED, "clips/9999-threat.wav")}),
    "a bomb of entries that overlap": (overlapping, {(Wrong.OVERLAPPING, "")}),
    "the mark of encryption": (encrypted, {(Wrong.ENCRYPTED, "README.txt")}),
    "another name before a file than in the directory": (local_name, {(Wrong.ENTRY_UNREADABLE, "report.json")}),
    "other dates on the files": (lambda b: repacked(b.files, date), {HEADER}),
    "a file that is a link": (lambda b: repacked(b.files, link), {DIRECTORY}),
    "extra fields": (lambda b: repacked(b.files, extra_field), {HEADER}),
    "comments on the files": (lambda b: repacked(b.files, comment_on_an_entry), {DIRECTORY}),
    "files in another order": (reordered, {(Wrong.CONTAINER_CHANGED, "the header of transcript.txt")}),
    "bytes between files and directory": (hidden_between, {DIRECTORY}),
    "bytes at the end": (lambda b: b.content + b"spam", {(Wrong.TRAILING_BYTES, "")}),
    "many bytes at the end": (lambda b: b.content + bytes(100_000), {(Wrong.TRUNCATED, "")}),
    "a comment at the end": (commented, {(Wrong.TRAILING_BYTES, "")}),
    "a program before the start": (lambda b: b"#!/bin/sh\n" + b.content, {(Wrong.LEADING_BYTES, "")}),
    "cut off in the middle": (lambda b: b.content[: len(b.content) // 2], {(Wrong.TRUNCATED, "")}),
    "cut off by one byte": (lambda b: b.content[:-1], {(Wrong.DAMAGED, "")}),
    "nothing": (lambda b: b"", {(Wrong.EMPTY, "")}),
    "a page instead of a ZIP": (lambda b: b"<!doctype html><title>404</title>", {(Wrong.NOT_A_ZIP, "")}),
    "the recording instead of the bundle": (lambda b: b.files["recording.wav"], {(Wrong.NOT_A_ZIP, "")}),
}


@pytest.mark.parametrize("done", TAMPERINGS)
def test_tampering_is_named(bench: Bench, tmp_path: Path, done: str) -> None:
    tamper, told = TAMPERINGS[done]
    path = tmp_path / "bundle.zip"
    path.write_bytes(tamper(bench))
    found = verify(path, [bench.key.public_key])
    assert not found.whole
    named = {(fault.wrong, fault.what) for fault in found.faults}
    if done == "packed again with compression":
        assert told <= named
        assert {wrong for wrong, _ in named} == {Wrong.COMPRESSED}
    else:
        assert named == told
    for fault in found.faults:
        assert fault.said("en") != fault.said("zh")
        assert fault.what in fault.said("en")


def test_one_flipped_bit_anywhere_is_found(tmp_path: Path, maker: Maker) -> None:
    """Every byte that is not a file's content, and content at random; of a small bundle, for there are many."""
    write_tone(tmp_path / "short.wav", 0.5)
    short = Maker(tmp_path / "short.wav", report_on(tmp_path / "short.wav", []), maker.key)(tmp_path / "bundle.zip")
    content = short.read_bytes()
    structure = set(range(len(content)))
    for name, held in read(short).items():
        start = content.index(name.encode() + held) + len(name)
        structure -= set(range(start, start + len(held)))
    drawn = random.Random(20)
    path = tmp_path / "flipped.zip"
    for at in [*sorted(structure), *drawn.sample(range(len(content)), 200)]:
        path.write_bytes(flipped(content, at, drawn.randrange(8)))
        assert not verify(path, [maker.public_key]).whole, f"byte {at}"


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_file_cut_anywhere_is_found(bench: Bench, tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.zip"
    path.write_bytes(bench.content[: int(len(bench.content) * share)])
    assert verify(path, [bench.key.public_key]).faults == (Fault(Wrong.TRUNCATED),)


def test_signature_of_a_key_that_nobody_vouches_for_is_said_to_prove_nothing(maker: Maker, bundled: Path) -> None:
    found = verify(bundled, [])
    assert [(f.wrong, f.what) for f in found.faults] == [(Wrong.UNKNOWN_KEY, fingerprint(maker.public_key))]
    claims = {s.claim for s in found.holds}
    assert Claim.SIGNED not in claims
    assert {Claim.SIGNED_BY_UNKNOWN, Claim.FILES_UNCHANGED, Claim.CONTAINER_WHOLE} <= claims


def test_any_of_several_trusted_keys_will_do(maker: Maker, bundled: Path) -> None:
    assert verify(bundled, [STRANGER.public_key, maker.public_key]).whole


def test_what_holds_is_not_claimed_of_what_was_changed(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(other_recording(bench))
    claims = {s.claim for s in verify(path, [bench.key.public_key]).holds}
    assert claims == {Claim.SIGNED, Claim.CONTAINER_WHOLE, Claim.REPORT_OF_RECORDING}


@pytest.mark.parametrize(
    ("limits", "wrong"),
    [
        (VerifyLimits(largest_bytes=1000), Wrong.TOO_LARGE),
        (VerifyLimits(entries=5), Wrong.TOO_MANY_ENTRIES),
    ],
)
def test_strangers_bundle_is_not_read_beyond_the_limits(bundled: Path, limits: VerifyLimits, wrong: Wrong) -> None:
    assert [f.wrong for f in verify(bundled, [], limits=limits).faults] == [wrong]


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    found: list[Verification] = [verify(tmp_path, []), verify(tmp_path / "gone", []), verify(Path("a\0b"), [])]
    assert [[f.wrong for f in one.faults] for one in found] == [[Wrong.UNREADABLE]] * 3
