"""Small files on their way into a bundle -> one file without a name, so that no kill leaves anything private behind."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

from pipelines.evidence.container import CHUNK
from pipelines.evidence.manifest import FilePart


@dataclass(frozen=True, slots=True)
class _Place:
    start: int
    size: int


class Staging:
    """Holds what was put into it on disk, until it is closed."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._places: dict[str, _Place] = {}

    def put(self, name: str, content: bytes) -> FilePart:
        start = self._file.seek(0, 2)
        self._file.write(content)
        self._places[name] = _Place(start, len(content))
        return FilePart(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    def read(self, name: str) -> Iterator[bytes]:
        place = self._places[name]
        for at in range(0, place.size, CHUNK):
            self._file.seek(place.start + at)
            yield self._file.read(min(CHUNK, place.size - at))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
