"""The tracer of a worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway import __version__
from gateway.settings import Settings
from gateway.tracing import PingTracer
from gateway.tracing.exporter import open_exporter


@asynccontextmanager
async def open_tracer(settings: Settings, worker: str) -> AsyncIterator[PingTracer | None]:
    """Yield the tracer of pings; None while `tracing.endpoint` is not set.

    Args:
        settings: the settings.
        worker: name of the worker, an attribute of its spans.

    Raises:
        BadSetting: the extra `tracing` is not installed.
    """
    if settings.tracing.endpoint is None:
        yield None
        return
    async with open_exporter(settings, worker, __version__) as exporter:
        yield PingTracer(exporter.record, settings.tracing.sample)
