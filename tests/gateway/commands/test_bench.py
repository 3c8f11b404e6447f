"""`rhopush bench` before it measures anything."""

from argparse import Namespace
from pathlib import Path

import pytest

from gateway.bench import latencies
from gateway.bench.errors import CannotMeasure
from gateway.commands import bench


def wanted(**more: Path | None) -> Namespace:
    return Namespace(**({"scenarios": ["ingest"], "json": None, "html": None} | more))


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "run_scenario", lambda *_: pytest.fail("it was measured"))


@pytest.mark.parametrize("what", ["json", "html"])
def test_a_report_that_cannot_be_written_is_refused(tmp_path: Path, what: str) -> None:
    file = tmp_path / "nowhere" / "report"
    with pytest.raises(CannotMeasure, match="cannot be written: No such file"):
        bench.run(wanted(**{what: file}))


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latencies, "HdrHistogram", None)
    with pytest.raises(CannotMeasure, match=r"pip install rhopush\[bench\]"):
        bench.run(wanted())
