"""How much a slow lane may keep waiting in memory."""

from gateway.delivery.backlog import PATIENCE_SWEEPS, WAITING_ROOM_MIN, WAITING_ROOM_S, WaitingRoomSize


def test_a_burst_is_left_alone_until_it_has_waited_long_enough() -> None:
    size = WaitingRoomSize()
    for _ in range(PATIENCE_SWEEPS - 1):
        assert size.room(0, 5_000) == 5_000
    assert size.room(0, 5_000) == WAITING_ROOM_MIN


def test_a_slow_lane_keeps_what_it_sends_in_seconds() -> None:
    size = WaitingRoomSize()
    for _ in range(PATIENCE_SWEEPS):
        room = size.room(1_000, 5_000)
    assert room == int(1_000 * WAITING_ROOM_S)


def test_the_highest_rate_of_the_last_seconds_counts() -> None:
    size = WaitingRoomSize()
    size.room(2_000, 9_000)
    for _ in range(PATIENCE_SWEEPS - 2):
        size.room(0, 9_000)
    assert size.room(0, 9_000) == int(2_000 * WAITING_ROOM_S)
    assert size.room(0, 9_000) == WAITING_ROOM_MIN


def test_requests_of_the_current_second_count_before_its_end() -> None:
    size = WaitingRoomSize()
    assert size.soon(0) == 0
    size.room(2_000, 9_000)
    assert (size.soon(0), size.soon(3_000)) == (int(2_000 * WAITING_ROOM_S), int(3_000 * WAITING_ROOM_S))


def test_a_lane_that_was_empty_in_between_starts_again() -> None:
    size = WaitingRoomSize()
    for _ in range(PATIENCE_SWEEPS):
        size.room(0, 900)
    assert size.room(0, 0) == 0
    assert size.room(0, 900) == 900
