"""Checks of conditions that end `serve` at its start and that no other check covers."""

import asyncio
from typing import Final

from gateway.check.findings import Finding, Level
from gateway.errors import BadSetting
from gateway.server.data_dir import DataDir
from gateway.settings import Settings
from gateway.tracing.exporter import check_packages

_HOST: Final = "127.0.0.1"
"""The default of `--host`, on which the supervisor serves the metrics."""
_TIMEOUT_S: Final = 5.0


def check_tracing(settings: Settings) -> list[Finding]:
    """Check that the packages of the extra `tracing` are installed if tracing is on."""
    try:
        check_packages(settings)
    except BadSetting as error:
        return [Finding(Level.BAD, "tracing", error.message)]
    if settings.tracing.endpoint is None:
        return []
    return [Finding(Level.GOOD, "tracing", f"spans go to {settings.tracing.endpoint}")]


async def check_metrics_port(settings: Settings) -> list[Finding]:
    """Check that no other program uses the port of `metrics.port`. A gateway on the data folder may use it."""
    port = settings.metrics.port
    if not port or DataDir(settings.data_dir).in_use():
        return []
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            _, writer = await asyncio.open_connection(_HOST, port)
    except OSError:  # includes TimeoutError
        return []
    writer.transport.abort()
    text = f"another program listens on {_HOST}:{port} (metrics.port): stop it first"
    return [Finding(Level.BAD, "metrics", text)]
