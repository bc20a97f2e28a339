"""Settings -> where OpenTelemetry spans go: nowhere, unless an address is set.

Without an address the API's own no-op takes them: no thread, no memory, no network.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace

from app.config import CannotStart, Settings
from pipelines.version import installed_version

_log = logging.getLogger(__name__)


@contextmanager
def send_traces(settings: Settings, process: str) -> Iterator[None]:
    """For as long as the program runs; what is left is sent at the end. Raises CannotStart without the extra."""
    if settings.traces_url is None:
        yield
        return
    try:
        # Imported here: they are an extra.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise CannotStart("CALLAUDIT_TRACES_URL needs the extra: pip install 'callaudit[traces]'") from None
    about = {"service.name": f"callaudit-{process}", "service.version": installed_version()}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.traces_url, timeout=5)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


@contextmanager
def span(name: str, **attributes: str | int | float) -> Iterator[trace.Span]:
    """Attributes are ids, seconds and counts; what an error says is left out, since it may quote a call."""
    with trace.get_tracer("callaudit").start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
