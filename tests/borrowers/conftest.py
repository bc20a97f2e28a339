"""The started service as strangers meet it: real requests, and calls whose reports are made by hand.

No worker runs, so that what is shown does not depend on a model; a test finishes a call itself.
"""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile
import sqlalchemy as sa

from app import calls, cases
from app.config import Settings
from app.database import open_database
from tests.conftest import Program, Start
from tests.lenders.conftest import Said, report


def sound(path: Path, seconds: float = 2.0) -> Path:
    """A recording like no other: noise."""
    samples = np.random.default_rng(secrets.randbits(60)).uniform(-0.1, 0.1, int(8000 * seconds))
    soundfile.write(path, samples, 8000)
    return path


@dataclass
class Visitor:
    """One browser without a script. Redirects are followed by hand, to see them."""

    client: httpx2.Client

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.get(path, **options)

    def post(self, path: str, **fields: str) -> httpx2.Response:
        return self.client.post(path, data=fields)

    def once(self) -> str:
        found = re.search(r'name="once" value="([^"]+)"', self.get("/").text)
        assert found
        return found[1]

    def send(self, file: Path, once: str = "", **fields: str) -> httpx2.Response:
        form = {"once": once or self.once(), **fields}
        with file.open("rb") as opened:
            return self.client.post("/cases", data=form, files={"file": ("录音.wav", opened)})


@dataclass
class MadeCase:
    visitor: Visitor
    path: str
    code: str


@dataclass
class Site:
    program: Program
    database: sa.Engine
    folder: Path
    visitors: list[Visitor] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.program.url

    def visitor(self) -> Visitor:
        made = Visitor(httpx2.Client(base_url=self.url, timeout=60))
        self.visitors.append(made)
        return made

    def sound(self, seconds: float = 2.0) -> Path:
        return sound(self.folder / f"{secrets.token_hex(8)}.wav", seconds)

    def case(self, **told: str) -> MadeCase:
        visitor = self.visitor()
        answer = visitor.send(self.sound(), **told)
        assert answer.status_code == 303, answer.text
        path = answer.headers["location"].partition("?")[0]
        shown = re.search(r"<code class=\"digits\">(\d{4}) (\d{4})</code>", visitor.get(path).text)
        assert shown
        return MadeCase(visitor, path, shown[1] + shown[2])

    def add(self, case: MadeCase, **told: str) -> httpx2.Response:
        with self.sound().open("rb") as opened:
            return case.visitor.client.post(f"{case.path}/recordings", data=told, files={"file": opened})

    def case_id(self, case: MadeCase) -> str:
        found = cases.find(self.database, case.path.rpartition("/")[2])
        assert found
        return found.id

    def recordings(self, case: MadeCase) -> list[cases.CaseRecording]:
        return cases.recordings(self.database, self.case_id(case))

    def finish(self, case: MadeCase, *said: Said, number: int = 0) -> str:
        """The path of the recording's page; this was said in it."""
        recording = self.recordings(case)[number]
        attempt = calls.begin(self.database, recording.call_id)
        assert attempt
        assert calls.finish(self.database, attempt, report(said, recording.recording_sha256))
        return f"{case.path}/recordings/{recording.call_id}"

    def files(self) -> set[Path]:
        kept = self.program.data_dir / "recordings"
        return {file for file in kept.rglob("*") if file.is_file()}


def open_site(program: Program, folder: Path) -> Iterator[Site]:
    with open_database(Settings(data_dir=program.data_dir)) as database:
        site = Site(program, database, folder)
        yield site
        for visitor in site.visitors:
            visitor.client.close()


@pytest.fixture(scope="session")
def site(start_program: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = {"CALLAUDIT_BORROWER_UPLOADS_PER_HOUR": "10000", "CALLAUDIT_THREADS": "1"}
    folder = tmp_path_factory.mktemp("borrowers")
    program = start_program(folder / "data", "serve", "--port", "0", "--no-worker", settings=settings)
    yield from open_site(program, folder)
