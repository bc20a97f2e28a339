"""Entries -> a ZIP file that has one form only, so that any other byte anywhere in it can be told.

Entries are stored, not compressed: the same bytes whatever zlib is at hand, readable by eye, and no bomb.
"""

from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

CHUNK = 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a ZIP file can name; times are told inside
_READABLE_BY_ALL = 0o100644 << 16
_UNIX = 3


class Entry(NamedTuple):
    name: str
    size: int
    chunks: Iterable[bytes]


def write_container(entries: Iterable[Entry], file: IO[bytes]) -> None:
    """In the order given; `file` must be seekable."""
    with ZipFile(file, "w", ZIP_STORED) as out:
        for entry in entries:
            told = ZipInfo(entry.name, _EPOCH)
            told.create_system, told.external_attr, told.file_size = _UNIX, _READABLE_BY_ALL, entry.size
            with out.open(told, "w") as place:
                for chunk in entry.chunks:
                    place.write(chunk)


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def first_difference(one: IO[bytes], other: IO[bytes]) -> int | None:
    """The first byte, counted from 0, at which two files differ; the end of the shorter counts. None: the same."""
    one.seek(0)
    other.seek(0)
    before = 0
    while True:
        ours, theirs = one.read(CHUNK), other.read(CHUNK)
        if ours != theirs:
            same = next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
            return before + (min(len(ours), len(theirs)) if same is None else same)
        if not ours:
            return None
        before += len(ours)
