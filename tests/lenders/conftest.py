"""The service's API on SQLite and on PostgreSQL, with tenants and calls as the tests want them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx2
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from starlette.testclient import TestClient

from app import calls, keys
from app.config import Settings
from app.database import open_database
from app.keys import NewKey, Role
from app.lenders.schemas import Metadata
from app.main import create_app
from app.recordings import Recordings
from models.call import KINDS, Label, Speaker
from pipelines.report import RecordingPart, Report, Scores, UtterancePart, summarise
from pipelines.score import Engine, load_engine
from tests.conftest import Program, Start
from tests.postgres import new_database

os.environ.setdefault("OMP_NUM_THREADS", "1")
ALL_ROLES = frozenset(Role)


@dataclass(frozen=True)
class Said:
    """One utterance as a test wants it."""

    text: str
    labels: tuple[Label, ...] = ()
    speaker: Speaker = Speaker.COLLECTOR
    needs_review: bool = False
    score: float = 0.9


@dataclass
class Api:
    client: TestClient
    settings: Settings
    database: sa.Engine
    recordings: Recordings

    def tenant(self, name: str = "") -> "Tenant":
        tenant = Tenant(self, name or f"t-{uuid4().hex[:12]}")
        with self.database.begin() as connection:
            keys.add_tenant(connection, tenant.id)
        return tenant


@dataclass
class Tenant:
    api: Api
    id: str
    tokens: dict[frozenset[Role], str] = field(default_factory=dict)

    def token(self, *roles: Role) -> str:
        wanted = frozenset(roles)
        if wanted not in self.tokens:
            with self.api.database.begin() as connection:
                self.tokens[wanted] = keys.create(connection, NewKey(self.id, wanted))[1]
        return self.tokens[wanted]

    def request(self, method: str, path: str, *roles: Role, **options: Any) -> httpx2.Response:
        """With a key that has these roles, or all of them if none is named."""
        headers = {"authorization": f"Bearer {self.token(*(roles or ALL_ROLES))}", **options.pop("headers", {})}
        return self.api.client.request(method, path, headers=headers, **options)

    def get(self, path: str, *roles: Role, **options: Any) -> httpx2.Response:
        return self.request("GET", path, *roles, **options)

    def post(self, path: str, *roles: Role, **options: Any) -> httpx2.Response:
        return self.request("POST", path, *roles, **options)

    def call(self, *said: Said, content: bytes = b"", **metadata: Any) -> str:
        """A finished call in which this was said; its recording is whatever bytes are given."""
        content = content or uuid4().bytes
        call_id = self.queued_call(content, **metadata)
        attempt = calls.begin(self.api.database, call_id)
        assert attempt
        assert calls.finish(self.api.database, attempt, report(said, sha256(content).hexdigest()))
        return call_id

    def queued_call(self, content: bytes = b"", **metadata: Any) -> str:
        """Accepted, and without a job."""
        content = content or uuid4().bytes
        known = Metadata(**metadata)
        call = calls.NewCall(
            id=str(uuid4()),
            tenant_id=self.id,
            key_prefix=None,
            sender="test",
            recording_sha256=sha256(content).hexdigest(),
            recording_bytes=len(content),
            media_type="audio/wav",
            details=known.model_dump_json(exclude_none=True),
            collector_id=known.collector_id,
            agency=known.agency,
            collector_channel=known.collector_channel,
            called_at=known.called_at or datetime.now(UTC),
        )
        received = self.api.recordings.incoming / uuid4().hex
        received.write_bytes(content)
        calls.accept(
            self.api.database,
            call,
            lambda: self.api.recordings.keep(received, self.id, call.recording_sha256),
            lambda _connection, _call_id: None,
        )
        return call.id


def report(said: Sequence[Said], recording_sha256: str) -> Report:
    parts = []
    for index, one in enumerate(said):
        scores = {kind.value: one.score if kind in one.labels else 0.01 for kind in KINDS}
        parts.append(
            UtterancePart(
                index=index,
                channel=0 if one.speaker is Speaker.COLLECTOR else 1,
                speaker=one.speaker,
                start=4.0 * index,
                end=4.0 * index + 3,
                text=one.text,
                raw_text=one.text,
                label=one.labels[0] if one.labels else Label.COMPLIANT,
                labels=one.labels,
                scores=Scores(**scores),
                asr_confidence=0.9,
                needs_review=one.needs_review,
                review_reasons=("the words were not heard clearly",) if one.needs_review else (),
            )
        )
    recording = RecordingPart(
        sha256=recording_sha256, duration=max(1.0, 4.0 * len(parts)), channels=2, codec="pcm_s16le"
    )
    return Report(recording=recording, models=(), utterances=tuple(parts), summary=summarise(parts))


@pytest.fixture(scope="session")
def engine() -> Engine:
    return load_engine()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    url = new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else None
    return Settings(data_dir=tmp_path_factory.mktemp("data"), database_url=SecretStr(url) if url else None, threads=1)


@pytest.fixture(scope="module")
def api(settings: Settings, engine: Engine) -> Iterator[Api]:
    app = create_app(settings, engine, None)
    with (
        TestClient(app, base_url="http://127.0.0.1") as client,
        open_database(settings) as database,
    ):
        yield Api(client, settings, database, Recordings(settings))


@dataclass
class Started(Api):
    """The service as a process of its own, behind real HTTP."""

    program: Program
    bucket: "Bucket"
    north: Tenant  # its objects lie in the bucket north-bank-calls
    south: Tenant  # whose data nobody else may see

    @property
    def headers(self) -> dict[str, str]:
        """Of north's administrator, who has all other roles too."""
        return {"authorization": f"Bearer {self.north.token(*ALL_ROLES)}"}


@dataclass(frozen=True)
class Bucket:
    """Of north's, on a server that speaks S3."""

    endpoint: str
    name: str = "north-bank-calls"

    def put(self, key: str, content: bytes) -> str:
        """The object's address."""
        with closing(
            boto3.client(
                "s3",
                endpoint_url=self.endpoint,
                region_name="us-east-1",
                aws_access_key_id="key",
                aws_secret_access_key="secret",
            )
        ) as client:
            client.create_bucket(Bucket=self.name)
            client.put_object(Bucket=self.name, Key=key, Body=content)
        return f"s3://{self.name}/{key}"


@pytest.fixture(scope="session")
def bucket(s3: str) -> Bucket:
    return Bucket(s3)


@pytest.fixture(scope="session")
def started(start_program: Start, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Impatient, with a worker, and shared by all tests that do it no harm."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("started"), threads=1)
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": bucket.endpoint,
        "CALLAUDIT_OBJECT_PREFIXES": "s3://{tenant}-calls/",
        "CALLAUDIT_REQUEST_WITHIN_SECONDS": "2",
        "CALLAUDIT_THREADS": "1",
        "CALLAUDIT_WEBHOOK_PRIVATE_NETWORKS": "127.0.0.0/8",
    }
    program = start_program(settings.data_dir, settings=environment)
    with (
        open_database(settings) as database,
        httpx2.Client(base_url=program.url, timeout=60) as client,
    ):
        shared: dict[str, Any] = {"client": client, "settings": settings, "database": database}
        api = Api(recordings=Recordings(settings), **shared)
        north, south = api.tenant("north-bank"), api.tenant("south-bank")
        yield Started(recordings=api.recordings, **shared, program=program, bucket=bucket, north=north, south=south)


@pytest.fixture
def tenant(api: Api) -> Tenant:
    return api.tenant()


def expect_problem(answer: httpx2.Response, status: int, words: str = "") -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert words in problem["detail"], problem
    return problem


def files_under(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file()}
