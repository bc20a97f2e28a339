"""Settings -> the loaded models."""

from app.config import Settings
from pipelines.score import Engine, EngineOptions, load_engine


def engine_options(settings: Settings) -> EngineOptions:
    return EngineOptions(
        asr_model=settings.asr_model,
        classifier=settings.classifier,
        speakers=settings.speakers,
        device=settings.device,
        compute_type=settings.compute_type,
        threads=settings.threads,
    )


def load_configured_engine(settings: Settings) -> Engine:
    """Raises ModelError, naming the setting, if a model cannot be loaded."""
    return load_engine(engine_options(settings))
