"""CSV, Parquet or JSON lines -> rows, a batch at a time."""

import csv
import io
import json
from collections.abc import Generator, Iterator
from typing import Any

import fsspec
import pyarrow as pa

from pipelines.archive.errors import ArchiveError
from pipelines.archive.store import parquet_file

_TABLES = (".csv", ".parquet")
_LINES = (".jsonl", ".ndjson")


def is_table(place: str, transcripts: bool = False) -> bool:
    """With `transcripts`, a file of JSON lines is a transcript."""
    endings = _TABLES if transcripts else _TABLES + _LINES
    return place.lower().endswith(endings) and not any(mark in place for mark in "*?[")


def read_listing(place: str) -> Generator[dict[str, Any], None, None]:
    """Raises ArchiveError naming the line or column that is wrong."""
    try:
        with fsspec.open(place, "rb") as file:
            yield from _rows(place, file)
    except (OSError, ImportError) as error:
        raise ArchiveError(f"{place} cannot be read ({error})") from error


def _rows(place: str, file: Any) -> Iterator[dict[str, Any]]:
    if place.lower().endswith(".parquet"):
        try:
            for batch in parquet_file(file.read()).iter_batches(1024, use_threads=False):
                yield from batch.to_pylist()
        except pa.ArrowInvalid as error:
            raise ArchiveError(f"{place} is not Parquet ({error})") from error
        return
    try:
        with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:  # spreadsheets put a mark before UTF-8
            if place.lower().endswith(".csv"):
                yield from csv.DictReader(text, strict=True)
                return
            for number, line in enumerate(text, start=1):
                if line.strip():
                    yield _json_row(place, number, line)
    except UnicodeDecodeError:
        raise ArchiveError(f"{place} is not UTF-8; save it as UTF-8") from None
    except csv.Error as error:
        raise ArchiveError(f"{place} is not CSV ({error})") from error


def _json_row(place: str, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ArchiveError(f"{place}, line {number}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise ArchiveError(f"{place}, line {number}: not an object")
    return row
