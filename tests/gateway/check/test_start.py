"""Each condition that ends `serve` at its start is an error of `rhopush check`, in the same words."""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.check.findings import Finding, Level
from gateway.check.start import check_metrics_port, check_tracing
from gateway.cli import main
from gateway.server.data_dir import DataDir
from gateway.settings import MetricsSettings, Settings
from gateway.settings.model import TracingSettings

ENDPOINT = "http://127.0.0.1:4318/v1/traces"


def check(folder: Path, setting: str) -> int:
    """Run `rhopush check` with one setting and without RhoConnect Push."""
    file = folder / "settings.yml"
    file.write_text(f"development:\n  gateway:\n    rhoconnect_push: {{mode: 'off'}}\n    {setting}\n")
    return main(["check", "--settings", str(file), "--env", "development"])


def without_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked: Any = None
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.trace.v1.trace_service_pb2", blocked)


def test_missing_packages_of_the_tracing_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_tracing(monkeypatch)
    assert check(tmp_path, f"tracing: {{endpoint: '{ENDPOINT}'}}") == 1
    assert "tracing.endpoint requires the extra `tracing`" in capsys.readouterr().out


def test_a_durability_that_the_embedded_store_cannot_provide_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tmp_path, "queue: {durability: replicas}") == 1
    assert "queue.durability: the embedded store has no replicas" in capsys.readouterr().out
    assert check(tmp_path, "queue: {durability: fsync}") == 0


async def test_a_port_of_the_metrics_that_is_taken_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert await asyncio.to_thread(check, tmp_path, f"metrics: {{port: {port}}}") == 1
    out = capsys.readouterr().out
    assert f"another program listens on 127.0.0.1:{port} (metrics.port): stop it first" in out


async def test_a_gateway_that_runs_on_the_folder_may_have_the_port_of_the_metrics(tmp_path: Path) -> None:
    folder = DataDir(tmp_path / "data")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(data_dir=folder.path, metrics=MetricsSettings(port))
        folder.lock()
        try:
            assert await check_metrics_port(settings) == []
        finally:
            folder.release()
        assert [found.level for found in await check_metrics_port(settings)] == [Level.BAD]


async def test_a_free_port_and_no_port_of_the_metrics_are_not_reported(unused_tcp_port: int) -> None:
    for port in (None, 0, unused_tcp_port):
        assert await check_metrics_port(Settings(metrics=MetricsSettings(port))) == []


def test_the_endpoint_of_the_tracing_is_shown() -> None:
    assert check_tracing(Settings()) == []
    found = check_tracing(Settings(tracing=TracingSettings(ENDPOINT)))
    assert found == [Finding(Level.GOOD, "tracing", f"spans go to {ENDPOINT}")]
