"""Verdicts that Redis has not recorded: when lanes stop, when they go on, and how many there are."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.delivery import unsaved as unsaved_module
from gateway.delivery.unsaved import CANCELLATION_READS, VERDICT_WRITES, UnsavedCount, UnsavedVerdicts
from gateway.metrics import Metrics
from tests.support.worker_core import until


def events(logs: list[Any]) -> list[str]:
    return [line["event"] for line in logs]


async def test_a_pass_that_takes_too_long_stops_the_lanes_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unsaved_module, "UNSAVED_MAX_S", 0.01)
    unsaved, resumed = UnsavedVerdicts(), []
    unsaved.on_resumed = lambda: resumed.append(unsaved.stalled)
    with capture_logs() as logs:
        unsaved.begin_pass()
        assert not unsaved.stalled
        await until(lambda: unsaved.stalled)
        assert events(logs) == ["verdict_writes_stalled"]
        assert not resumed
        unsaved.end_pass()
    assert (unsaved.stalled, resumed) == (False, [False])
    assert events(logs) == ["verdict_writes_stalled", "verdict_writes_resumed"]


async def test_a_pass_that_ends_in_time_is_not_watched_further() -> None:
    unsaved = UnsavedVerdicts()
    with capture_logs() as logs:
        unsaved.begin_pass()
        timer = unsaved._timer
        unsaved.end_pass()
    assert timer is not None
    assert timer.cancelled()
    assert not logs


async def test_verdicts_count_until_the_pass_that_began_after_them_has_ended() -> None:
    unsaved, count = UnsavedVerdicts(), UnsavedCount()
    count.add(3, unsaved)
    count.add(2, unsaved)
    unsaved.begin_pass()
    count.add(10, unsaved)
    assert count.total(unsaved) == 15
    unsaved.end_pass()
    assert count.total(unsaved) == 10
    unsaved.begin_pass()
    unsaved.end_pass()
    assert count.total(unsaved) == 0


async def test_the_number_of_stored_passes_is_bounded() -> None:
    unsaved, count = UnsavedVerdicts(), UnsavedCount()
    for _ in range(100):
        count.add(1, unsaved)
        unsaved.begin_pass()
        unsaved.end_pass()
    assert len(count._counts) == 1


async def test_stopped_lanes_continue_when_both_reasons_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unsaved_module, "UNSAVED_MAX_S", 0.01)
    unsaved, resumed = UnsavedVerdicts(), []
    unsaved.on_resumed = lambda: resumed.append(unsaved.stalled)
    unsaved.hold(held=True)
    assert unsaved.stalled
    unsaved.begin_pass()
    await until(lambda: unsaved._late)
    unsaved.hold(held=False)
    assert (unsaved.stalled, resumed) == (True, [])
    unsaved.hold(held=True)
    unsaved.end_pass()
    assert (unsaved.stalled, resumed) == (True, [])
    unsaved.hold(held=False)
    assert (unsaved.stalled, resumed) == (False, [False])


async def test_the_reasons_are_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsaved_module, "UNSAVED_MAX_S", 0.01)
    metrics = Metrics()

    def exported() -> list[float | None]:
        return [
            metrics.registry.get_sample_value("rhopush_lanes_stalled", {"reason": reason})
            for reason in (VERDICT_WRITES, CANCELLATION_READS)
        ]

    unsaved = UnsavedVerdicts(metrics)
    assert exported() == [0, 0]
    unsaved.hold(held=True)
    assert exported() == [0, 1]
    unsaved.begin_pass()
    await until(lambda: unsaved._late)
    assert exported() == [1, 1]
    unsaved.hold(held=False)
    unsaved.end_pass()
    assert exported() == [0, 0]


async def test_lanes_resume_when_a_limit_that_was_over_is_extended() -> None:
    unsaved, resumed = UnsavedVerdicts(), []
    unsaved.on_resumed = lambda: resumed.append(unsaved.fresh_until_s)
    unsaved.extend(0.0)
    assert not resumed
    unsaved.hold(held=True)
    unsaved.extend(1.0)
    assert not resumed
    unsaved.hold(held=False)
    unsaved.extend(float("inf"))
    assert resumed == [1.0, float("inf")]
