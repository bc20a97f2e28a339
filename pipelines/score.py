"""Recording -> Report: the one journey that every door leads to."""

from collections.abc import Callable
from dataclasses import dataclass

from models.call import Recording
from pipelines.report import ModelPart, Report


@dataclass(frozen=True, slots=True)
class Engine:
    """The loaded models; build once, pass down, share between threads."""

    models: tuple[ModelPart, ...]


def score(
    recording: Recording,
    engine: Engine,
    collector_channel: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Report:
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class EngineOptions:
    asr_model: str = "bundled"
    classifier: str = "bundled"
    device: str = "auto"
    compute_type: str = "auto"
    threads: int = 0


def load_engine(options: EngineOptions) -> Engine:
    raise NotImplementedError
