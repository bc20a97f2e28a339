"""Name of a folder that is not there yet -> the folder, whole or not at all; what somebody else keeps there stays."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class OutTaken(Exception):
    def __init__(self, out: Path) -> None:
        super().__init__(f"{out} exists and is not an empty folder; choose another --out, or delete it")


def check_free(out: Path) -> None:
    """Raises OutTaken unless `out` does not exist or is an empty folder."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutTaken(out)


@contextmanager
def written_whole(out: Path) -> Iterator[Path]:
    """A path beside `out` at which to make the folder; it is renamed to `out` unless the block raises.

    Raises OutTaken.
    """
    check_free(out)
    place = out.resolve()  # a link to an empty folder cannot be renamed onto
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-unfinished-") as unfinished:
        folder = Path(unfinished) / place.name
        yield folder
        folder.rename(place)
