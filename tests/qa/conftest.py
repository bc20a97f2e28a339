"""The started service as analysts meet it: real requests, two tenants, and calls whose reports are made by hand.

No worker runs, so that what is shown does not depend on a model.
"""

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import numpy as np
import pytest
import soundfile
import sqlalchemy as sa

from app import calls, keys
from app.config import Settings
from app.database import open_database
from app.keys import NewKey, Role
from app.recordings import Recordings
from tests.conftest import Program, Start
from tests.lenders.conftest import Said, report

REVIEWER = (Role.READ, Role.REVIEW)


@dataclass
class Analyst:
    """One browser without a script, signed in or not. Redirects are followed by hand, to see them."""

    client: httpx2.Client
    token: str
    prefix: str

    def get(self, path: str, **options: Any) -> httpx2.Response:
        return self.client.get(path, **options)

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: str | Sequence[str]) -> httpx2.Response:
        return self.client.post(path, data=fields, headers=headers)

    def sign_in(self, **fields: str) -> httpx2.Response:
        return self.post("/qa/sign-in", key=self.token, **fields)

    def rest(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """The same key, by the API."""
        return self.client.request(method, path, headers={"authorization": f"Bearer {self.token}"}, **options)


@dataclass
class Office:
    """A tenant, and what it has in the service."""

    program: Program
    database: sa.Engine
    recordings: Recordings
    id: str
    opened: list[httpx2.Client] = field(default_factory=list)

    def analyst(self, *roles: Role, signed_in: bool = True) -> Analyst:
        with self.database.begin() as connection:
            key, token = keys.create(connection, NewKey(self.id, frozenset(roles or REVIEWER), "QA"))
        client = httpx2.Client(base_url=self.program.url, timeout=60)
        self.opened.append(client)
        made = Analyst(client, token, key.prefix)
        if signed_in:
            assert made.sign_in().status_code == 303
        return made

    def call(self, *said: Said, called_at: datetime | None = None, seconds: float | None = None, **who: str) -> str:
        """A done call in which this was said; it can be heard for as long, by default as long as what was said."""
        call_id = self.queued(seconds or max(1.0, 4.0 * len(said)), called_at or datetime.now(UTC), **who)
        attempt = calls.begin(self.database, call_id)
        assert attempt
        assert calls.finish(self.database, attempt, report(said, attempt.recording_sha256))
        return call_id

    def queued(self, seconds: float, called_at: datetime, **who: str) -> str:
        sound = _noise(self.recordings.incoming / f"{uuid4().hex}.wav", seconds)
        content = sound.read_bytes()
        new = calls.NewCall(
            id=str(uuid4()),
            tenant_id=self.id,
            key_prefix=None,
            sender="test",
            recording_sha256=sha256(content).hexdigest(),
            recording_bytes=len(content),
            media_type="audio/wav",
            details=json.dumps(who),
            collector_id=who.get("collector_id"),
            agency=who.get("agency"),
            collector_channel=None,
            called_at=called_at,
        )
        calls.accept(
            self.database,
            new,
            lambda: self.recordings.keep(sound, self.id, new.recording_sha256),
            lambda _connection, _call_id: None,
        )
        return new.id


@dataclass
class House:
    """The service, whose tenants are made as they are wanted."""

    program: Program
    database: sa.Engine
    recordings: Recordings
    offices: list[Office] = field(default_factory=list)

    def office(self) -> Office:
        made = Office(self.program, self.database, self.recordings, f"t-{uuid4().hex[:12]}")
        with self.database.begin() as connection:
            keys.add_tenant(connection, made.id)
        self.offices.append(made)
        return made


def _noise(path: Path, seconds: float) -> Path:
    """Two channels like no others."""
    samples = np.random.default_rng(secrets.randbits(60)).uniform(-0.1, 0.1, (int(8000 * seconds), 2))
    soundfile.write(path, samples, 8000)
    return path


@pytest.fixture(scope="session")
def house(start_program: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("qa")
    arguments = ("serve", "--port", "0", "--no-worker")
    program = start_program(folder, *arguments, settings={"CALLAUDIT_THREADS": "1"})
    settings = Settings(data_dir=folder)
    with open_database(settings) as database:
        made = House(program, database, Recordings(settings))
        yield made
        for office in made.offices:
            for client in office.opened:
                client.close()


@pytest.fixture
def office(house: House) -> Office:
    return house.office()
