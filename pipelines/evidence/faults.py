"""What can be wrong with a bundle, and what holds of one that is whole; in plain words, Chinese and English."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Language = Literal["zh", "en"]


class Wrong(StrEnum):
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    NOT_A_ZIP = "not_a_zip"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    TOO_MANY_ENTRIES = "too_many_entries"
    BAD_NAME = "bad_name"
    DUPLICATE = "duplicate"
    COMPRESSED = "compressed"
    ENCRYPTED = "encrypted"
    OVERLAPPING = "overlapping"
    ENTRY_UNREADABLE = "entry_unreadable"
    LEADING_BYTES = "leading_bytes"
    TRAILING_BYTES = "trailing_bytes"
    CONTAINER_CHANGED = "container_changed"
    NO_MANIFEST = "no_manifest"
    MANIFEST_UNREADABLE = "manifest_unreadable"
    NO_SIGNATURE = "no_signature"
    SIGNATURE_WRONG = "signature_wrong"
    UNKNOWN_KEY = "unknown_key"
    MISSING = "missing"
    EXTRA = "extra"
    RENAMED = "renamed"
    CHANGED = "changed"
    SUMS_DIFFER = "sums_differ"
    OTHER_RECORDING = "other_recording"
    REPORT_UNREADABLE = "report_unreadable"
    TIMESTAMP_WRONG = "timestamp_wrong"


# {what}: the entry's name, or what else the fault is about; {detail}: more of it.
_WRONG: dict[Wrong, tuple[str, str]] = {
    Wrong.UNREADABLE: ("文件无法读取：{detail}", "the file cannot be read: {detail}"),
    Wrong.EMPTY: ("文件是空的", "the file is empty"),
    Wrong.TOO_LARGE: (
        "文件过大，未予检查：超过 {detail} 字节",
        "the file is too large to be checked: over {detail} bytes",
    ),
    Wrong.NOT_A_ZIP: ("这不是 ZIP 文件，因此不是证据包", "this is no ZIP file, so it is no evidence bundle"),
    Wrong.TRUNCATED: (
        "ZIP 的结尾不见了：文件不完整(可能没有下载完)，或后面被接上了别的内容",
        "the end of the ZIP is not where it belongs: the file was cut off (a broken download?), or much was added",
    ),
    Wrong.DAMAGED: ("ZIP 的目录已损坏，无法读取", "the directory at the end of the ZIP is damaged and cannot be read"),
    Wrong.TOO_MANY_ENTRIES: ("ZIP 里的文件太多：{detail} 个", "the ZIP has too many entries: {detail}"),
    Wrong.BAD_NAME: ("文件名不允许：{what}", "an entry has a name that no bundle uses: {what}"),
    Wrong.DUPLICATE: ("{what} 出现了不止一次", "{what} is in the ZIP more than once"),
    Wrong.COMPRESSED: (
        "{what} 被压缩过；证据包里的文件从不压缩",
        "{what} was compressed; a bundle's files never are, so the ZIP was packed again",
    ),
    Wrong.ENCRYPTED: ("{what} 被加密；证据包里的文件从不加密", "{what} is encrypted; a bundle's files never are"),
    Wrong.OVERLAPPING: (
        "ZIP 里各文件的大小之和超过了 ZIP 本身",
        "the entries claim to be larger than the ZIP that holds them: it is a trap or broken",
    ),
    Wrong.ENTRY_UNREADABLE: (
        "{what} 无法读取，或与它在 ZIP 中的校验和不符",
        "{what} cannot be read, or does not fit its checksum in the ZIP",
    ),
    Wrong.LEADING_BYTES: ("ZIP 之前多出了 {detail} 个字节", "{detail} bytes were put before the ZIP"),
    Wrong.TRAILING_BYTES: (
        "ZIP 之后多出了 {detail} 个字节(或加了注释)",
        "{detail} bytes were put after the ZIP's end, or as its comment",
    ),
    Wrong.CONTAINER_CHANGED: (
        "ZIP 的结构被改动，从第 {detail} 个字节起({what})",
        "the ZIP around the files was changed, from byte {detail} on ({what})",
    ),
    Wrong.NO_MANIFEST: ("缺少清单 manifest.json", "the list of files, manifest.json, is missing"),
    Wrong.MANIFEST_UNREADABLE: (
        "清单 manifest.json 无法读取：{detail}",
        "the list of files, manifest.json, cannot be read: {detail}",
    ),
    Wrong.NO_SIGNATURE: ("缺少签名 manifest.sig", "the signature, manifest.sig, is missing"),
    Wrong.SIGNATURE_WRONG: (
        "签名不成立：manifest.json 或 manifest.sig 在签名之后被改动",
        "the signature does not hold: manifest.json or manifest.sig was changed after signing",
    ),
    Wrong.UNKNOWN_KEY: (
        "签名所用的密钥 {what} 不在您信任的密钥之列：任何人都可以这样签名",
        "signed by key {what}, which is not among the keys that you trust: anybody can sign like that",
    ),
    Wrong.MISSING: ("缺少 {what}", "{what} is missing"),
    Wrong.EXTRA: ("多出了清单里没有的文件 {what}", "{what} was added: the manifest does not list it"),
    Wrong.RENAMED: ("{what} 被改名为 {detail}", "{what} was renamed to {detail}"),
    Wrong.CHANGED: ("{what} 的内容被改动", "the content of {what} was changed: {detail}"),
    Wrong.SUMS_DIFFER: ("SHA256SUMS 与清单不一致", "SHA256SUMS does not say the same as the manifest"),
    Wrong.OTHER_RECORDING: ("报告所分析的不是这段录音", "the report is about another recording than {what}"),
    Wrong.REPORT_UNREADABLE: ("report.json 无法读取", "report.json is no report that can be read"),
    Wrong.TIMESTAMP_WRONG: ("时间戳不成立：{detail}", "the timestamp does not hold: {detail}"),
}


class Claim(StrEnum):
    FILES_UNCHANGED = "files_unchanged"
    SIGNED = "signed"
    SIGNED_BY_UNKNOWN = "signed_by_unknown"
    REPORT_OF_RECORDING = "report_of_recording"
    CONTAINER_WHOLE = "container_whole"
    STAMPED = "stamped"
    STAMP_NOT_CHECKED = "stamp_not_checked"
    NO_STAMP = "no_stamp"
    ORIGIN_UNKNOWN = "origin_unknown"
    FINDINGS_FALLIBLE = "findings_fallible"


_CLAIMS: dict[Claim, tuple[str, str]] = {
    Claim.FILES_UNCHANGED: (
        "{detail} 个文件都与清单逐字节相符",
        "all {detail} files are byte for byte what the manifest lists",
    ),
    Claim.SIGNED: (
        "清单由您信任的密钥 {what} 签名，签名后未被改动",
        "the manifest was signed by key {what}, which you trust, and was not changed since",
    ),
    Claim.SIGNED_BY_UNKNOWN: (
        "清单自被密钥 {what} 签名后未被改动；但该密钥属于谁，无从得知",
        "the manifest was not changed since key {what} signed it; whose key that is cannot be told",
    ),
    Claim.REPORT_OF_RECORDING: (
        "报告所分析的正是包中的录音 (SHA-256 {what})",
        "the report is about the recording in the bundle (SHA-256 {what})",
    ),
    Claim.CONTAINER_WHOLE: (
        "ZIP 文件中没有其他内容：没有多出、缺少或改动任何一个字节",
        "the ZIP holds nothing else: not one byte was added, lost or changed",
    ),
    Claim.STAMPED: (
        "时间戳机构证明：这些内容在 {detail} 已经存在",
        "a timestamp authority that you trust says that these contents existed at {detail}",
    ),
    Claim.STAMP_NOT_CHECKED: (
        "包中有时间戳，称这些内容在 {detail} 已经存在；因未提供时间戳机构的根证书，未核验其签名",
        "a timestamp in the bundle says that these contents existed at {detail}; without the authority's root "
        "certificate, its signature was not checked",
    ),
    Claim.NO_STAMP: (
        "没有时间戳：签名的时间只有签名人自己的记录为证",
        "there is no timestamp: for when it was signed there is the signer's word alone",
    ),
    Claim.ORIGIN_UNKNOWN: (
        "录音在交来之前是否被剪辑、由何人何时录制，无法由此得知",
        "whether the recording was edited before it was handed in, and who made it and when, cannot be told from this",
    ),
    Claim.FINDINGS_FALLIBLE: (
        "机器的文字和标记是否正确，不在核验之列；以录音为准",
        "whether the machine's text and labels are right is not checked; the recording decides",
    ),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is broken."""

    wrong: Wrong
    what: str = ""  # the entry, printable
    detail: str = ""

    def said(self, language: Language = "en") -> str:
        return _WRONG[self.wrong][language == "en"].format(what=self.what, detail=self.detail)


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that holds, or that nobody can tell."""

    claim: Claim
    what: str = ""
    detail: str = ""

    def said(self, language: Language = "en") -> str:
        return _CLAIMS[self.claim][language == "en"].format(what=self.what, detail=self.detail)
