"""SOURCE -> the recordings in it, one by one: a folder, a glob, a bucket's prefix, or a table that lists them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipelines.archive.errors import ArchiveError
from pipelines.archive.listing import is_table, read_listing

_META = ".meta.json"


@dataclass(frozen=True, slots=True)
class Item:
    """`name`: as reported, relative to SOURCE. `place`: what to open. `fault`: why it cannot be scored, if so."""

    name: str
    place: str
    row: dict[str, Any] | None = None  # its metadata, where a table lists the recordings
    fault: tuple[str, str] | None = None  # name of the error and its reason


@dataclass(frozen=True, slots=True)
class Source:
    """`transcripts`: JSON files are what is looked for; else they are metadata of recordings.

    `apart`: a folder that is never looked into, since the results lie there.
    """

    place: str
    transcripts: bool = False
    apart: str | None = None

    def items(self) -> Iterator[Item]:
        """In no order that matters. Raises ArchiveError if the whole of it cannot be read."""
        if is_table(self.place, self.transcripts):
            yield from self._listed()
            return
        try:
            files, root = fsspec.core.url_to_fs(self.place)
        except (ImportError, ValueError, OSError) as error:
            raise ArchiveError(f"{self.place}: {error}") from error
        if isinstance(files, LocalFileSystem):
            yield from self._local(files, root)
            return
        try:
            found = files.glob(root) if _is_glob(root) else files.find(root)
        except (OSError, ValueError) as error:
            raise ArchiveError(f"{self.place} cannot be listed ({error}); check its name and your keys") from error
        base = _base(root)
        for path in found:
            if self._wanted(path.rpartition("/")[2]):
                yield Item(path.removeprefix(base).lstrip("/"), files.unstrip_protocol(path))

    def sidecars(self, item: Item) -> list[str]:
        """Where its metadata may lie, the surest first."""
        stem = item.place.rpartition(".")[0] if "." in item.place.rpartition("/")[2] else item.place
        return [f"{item.place}{_META}"] if self.transcripts else [f"{item.place}.json", f"{stem}.json"]

    def _local(self, files: LocalFileSystem, root: str) -> Iterator[Item]:
        path = Path(root)
        if path.is_dir():
            if not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
                raise ArchiveError(f"{self.place} cannot be read; you lack the right to its folder")
            yield from self._walk(root, root)
        elif path.is_file():
            yield _local_item(root, str(path.parent))
        elif _is_glob(root):
            base = _base(root)
            for found in files.glob(root):
                if self._wanted(Path(found).name) and Path(found).is_file():
                    yield _local_item(found, base)
        else:
            raise ArchiveError(f"{self.place}: there is no such folder, file or table")

    def _walk(self, folder: str, root: str) -> Iterator[Item]:
        """Entry by entry: a folder of a million files is never a list in memory."""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir():
                        if entry.path != self.apart and not entry.name.startswith(".") and not entry.is_symlink():
                            yield from self._walk(entry.path, root)
                    elif self._wanted(entry.name):
                        yield _local_item(entry.path, root)
        except PermissionError:
            name = _shown(os.path.relpath(folder, root))
            yield Item(name, folder, fault=("UnreadableFile", "the folder cannot be read; you lack the right to it"))

    def _wanted(self, name: str) -> bool:
        if name.startswith("."):
            return False
        return not name.endswith(_META) if self.transcripts else not name.endswith(".json")

    def _listed(self) -> Iterator[Item]:
        base = self.place.rpartition("/")[0] or "."
        for row in read_listing(self.place):
            name = str(row.get("path") or row.get("recording") or "")
            if not name:
                told = f"a row of {self.place} names no path: call_id {row.get('call_id')!r}"
                yield Item(f"(no path) {row.get('call_id')}", "", row, ("UnreadableFile", told))
                continue
            place = name if "://" in name or name.startswith("/") else f"{base}/{name}"
            yield Item(name, place if "://" in place else str(Path(place).absolute()), row)


def _local_item(path: str, root: str) -> Item:
    name = os.path.relpath(path, root)
    try:
        name.encode("utf8")
    except UnicodeEncodeError:
        return Item(_shown(name), path, fault=("UnreadableFile", "its name is not UTF-8; rename the file"))
    return Item(name, path)


def _shown(name: str) -> str:
    return name.encode("utf8", "surrogateescape").decode("utf8", "backslashreplace")


def _is_glob(path: str) -> bool:
    return any(mark in path for mark in "*?[")


def _base(path: str) -> str:
    """The folder above the first part with a wildcard."""
    parts = path.split("/")
    plain = next((i for i, part in enumerate(parts) if _is_glob(part)), len(parts))
    return "/".join(parts[:plain])
