"""The list of a bundle's files with their hashes: what is signed, and what is stamped with a time."""

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
SUMS = "SHA256SUMS"
TIMESTAMP = "timestamp.tsr"
REPORT = "report.json"

# Names that mean the same on every system, and never a place outside the folder that a bundle is unpacked into.
NAME = re.compile(r"(?:clips/)?[A-Za-z0-9][A-Za-z0-9._-]{0,80}", re.ASCII)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FilePart(_Part):
    name: str = Field(pattern=f"^{NAME.pattern}$")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class PrintedPart(_Part):
    """The report to be read on paper."""

    file: Literal["report.pdf", "report.html"]
    why_no_pdf: str | None = Field(default=None, description="In plain words, if there is no PDF")


class Manifest(_Part):
    format: Literal["callaudit evidence 1"] = "callaudit evidence 1"
    made_with: str = Field(description="Name and version of the program")
    recording: str = Field(description="The file that is the recording, byte for byte as received")
    printed: PrintedPart
    public_key: str = Field(description="Of the signer, in PEM form; to be compared with one from elsewhere")
    key_sha256: str = Field(description="Of the public key in DER form", pattern="^[0-9a-f]{64}$")
    files: tuple[FilePart, ...] = Field(description="All but the manifest and its signature, by name")

    def canonical(self) -> bytes:
        """The one way in which this manifest is written."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def sums(files: Sequence[FilePart]) -> bytes:
    """As `sha256sum --check` reads it; of all files but itself and the timestamp over it."""
    listed = (file for file in files if file.name not in (SUMS, TIMESTAMP))
    return "".join(f"{file.sha256}  {file.name}\n" for file in listed).encode()
