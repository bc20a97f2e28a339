"""What a route may ask for."""

from typing import Annotated, TypedDict, cast

import sqlalchemy as sa
from fastapi import Depends, Request

from app.access import Door
from app.config import Settings
from app.jobs import JobQueue
from app.metrics import Metrics
from app.recordings import Recordings
from pipelines.score import Engine


class State(TypedDict):
    """What the service holds while it runs."""

    settings: Settings
    engine: Engine
    database: sa.Engine
    recordings: Recordings
    jobs: JobQueue
    door: Door
    metrics: Metrics


def _state(request: Request) -> State:
    return cast(State, request.state._state)


def _settings(request: Request) -> Settings:
    return _state(request)["settings"]


def _engine(request: Request) -> Engine:
    return _state(request)["engine"]


def _database(request: Request) -> sa.Engine:
    return _state(request)["database"]


def _recordings(request: Request) -> Recordings:
    return _state(request)["recordings"]


def _jobs(request: Request) -> JobQueue:
    return _state(request)["jobs"]


def _metrics(request: Request) -> Metrics:
    return _state(request)["metrics"]


SettingsDep = Annotated[Settings, Depends(_settings)]
EngineDep = Annotated[Engine, Depends(_engine)]
DatabaseDep = Annotated[sa.Engine, Depends(_database)]
RecordingsDep = Annotated[Recordings, Depends(_recordings)]
JobsDep = Annotated[JobQueue, Depends(_jobs)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
