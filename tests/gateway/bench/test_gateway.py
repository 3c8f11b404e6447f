"""A gateway as a process of a measurement."""

import os
from pathlib import Path

import pytest

from gateway.bench.errors import CannotMeasure
from gateway.bench.gateway import Gateway
from gateway.bench.scratch import scratch

SETTINGS = ":development:\n  :gateway:\n    rhoconnect_push: {mode: builtin, port: 0}\n"


def test_it_runs_until_it_is_closed() -> None:
    with scratch() as folder:
        settings = folder / "settings.yml"
        settings.write_text(SETTINGS)
        with Gateway(str(settings), folder, None, 2) as gateway:
            gateway.check()
            assert gateway.port
            assert gateway.push_port
            assert gateway.push_port != gateway.port
            status, text = gateway.get("/metrics", 10.0)
            assert status == 200
            assert "\nrhopush_" in text
            assert gateway.get("/rc/v1/users", 10.0)[0] == 422  # without a token
            pids = gateway.pids
            assert len(pids) == 3  # a supervisor and two workers, without the embedded store
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        with pytest.raises(CannotMeasure, match="the gateway ended with 0"):
            gateway.check()
        with pytest.raises(CannotMeasure, match=r"/healthz was not answered: .*refused"):
            gateway.get("/healthz", 10.0)


def test_a_gateway_that_does_not_start_is_reported_with_its_last_line(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text(":development:\n  :gateway:\n    no_such_setting: 1\n")
    with pytest.raises(CannotMeasure, match=r"did not start: .*no_such_setting"):
        Gateway(str(settings), tmp_path, None, 1)
