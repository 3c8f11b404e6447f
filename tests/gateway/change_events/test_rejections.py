"""Changes that cause no push: each is counted, and one a minute is logged."""

import pytest
from structlog.testing import capture_logs

from gateway.change_events import rejections as module
from gateway.change_events.rejections import EXAMPLE_BYTES, Rejections
from gateway.metrics import Metrics


def counted(metrics: Metrics, reason: str) -> bool | str:
    name = f'rhopush_change_events_ignored_total{{reason="{reason}"}}'
    return next(
        (line.split()[1] for line in metrics.exposition().decode().splitlines() if line.startswith(name)), ""
    )


def test_of_many_with_one_reason_the_first_is_logged() -> None:
    metrics = Metrics()
    rejections = Rejections(metrics)
    with capture_logs() as logs:
        for _ in range(3):
            rejections.record("malformed", b"{" + b"x" * 300, channel="a")
        rejections.record("not_listed", "Product")
    assert [(line["reason"], line["count"]) for line in logs] == [("malformed", 1), ("not_listed", 1)]
    assert len(logs[0]["example"]) == EXAMPLE_BYTES
    assert (logs[0]["channel"], logs[1]["example"]) == ("a", "Product")
    assert (counted(metrics, "malformed"), counted(metrics, "not_listed")) == ("3.0", "1.0")


def test_the_next_line_has_the_number_of_rejections(monkeypatch: pytest.MonkeyPatch) -> None:
    rejections = Rejections(Metrics())
    with capture_logs() as logs:
        rejections.record("malformed", b"1")
        rejections.record("malformed", b"2")
        monkeypatch.setattr(module, "LOG_INTERVAL_S", 0.0)
        rejections.record("malformed", b"\xff")
    assert [(line["count"], line["example"]) for line in logs] == [(1, "1"), (2, "\ufffd")]
