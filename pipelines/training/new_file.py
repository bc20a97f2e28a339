"""Name of a file -> the file, whole or not at all; what was there before stays until then."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_written_whole(file: Path) -> Iterator[Path]:
    """A path beside `file`, of the same suffix, to write to; it is renamed to `file` unless the block raises."""
    unfinished = file.with_name(f".{file.stem}-unfinished{file.suffix}")
    yield unfinished
    unfinished.replace(file)
