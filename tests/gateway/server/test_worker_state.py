"""The states of a worker slot, at and around each limit."""

import pytest

from gateway.server.worker_state import (
    FIRST_STARTS_MAX,
    STABLE_AFTER_S,
    START_BUDGET_S,
    WorkerPhase,
    WorkerState,
)


def serving(at_s: float = 100.0) -> WorkerState:
    slot = WorkerState(0, unresponsive_after_s=10.0)
    slot.started(at_s - 1)
    slot.ready(at_s)
    return slot


def test_a_new_slot_is_due_immediately_and_not_while_its_process_runs() -> None:
    slot = WorkerState(0)
    assert slot.due(0.0)
    slot.started(0.0)
    assert (slot.state, slot.due(1e9)) == (WorkerPhase.STARTING, False)
    slot.ready(1.0)
    assert (slot.state, slot.due(1e9), slot.ever_ready) == (WorkerPhase.SERVING, False, True)


@pytest.mark.parametrize(
    ("beat_s", "now_s", "frozen"), [(100, 110, False), (100, 110.01, True), (105, 115, False)]
)
def test_a_loop_without_heartbeats_is_frozen_after_the_limit(
    beat_s: float, now_s: float, frozen: bool
) -> None:
    slot = serving()
    slot.heartbeat(beat_s)
    assert slot.frozen(now_s) is frozen


def test_a_start_may_take_longer_than_a_heartbeat_but_not_forever() -> None:
    slot = WorkerState(0, unresponsive_after_s=1.0)
    slot.started(100.0)
    assert not slot.frozen(100.0 + START_BUDGET_S)
    assert slot.frozen(100.01 + START_BUDGET_S)


def test_successive_failures_wait_longer_and_stable_service_resets_them() -> None:
    slot = serving()
    waits = [slot.ended(200.0)]
    for _ in range(7):
        slot.started(200.0)
        waits.append(slot.ended(200.0))
    assert waits[0] == 0.0
    assert waits == sorted(waits)
    assert waits[-1] == waits[-2] == 5.0
    assert not slot.due(204.99)
    assert slot.due(205.0)
    slot.started(300.0)
    slot.ready(301.0)
    assert slot.ended(301.0 + STABLE_AFTER_S) == 0.0


def test_a_slot_that_was_never_ready_is_given_up() -> None:
    slot = WorkerState(0)
    for fall in range(1, FIRST_STARTS_MAX + 1):
        slot.started(0.0)
        slot.ended(0.0)
        assert slot.gave_up is (fall >= FIRST_STARTS_MAX)


def test_a_slot_that_was_ready_once_is_never_given_up() -> None:
    slot = serving()
    for _ in range(2 * FIRST_STARTS_MAX):
        slot.ended(100.0)
        slot.started(100.0)
    assert not slot.gave_up
