"""How much a slow lane may keep waiting in memory."""

from gateway.delivery.http2_lane import PATIENCE_SWEEPS, WAITING_ROOM_MIN, WAITING_ROOM_S, WaitingRoomSize


def test_a_burst_is_left_alone_until_it_has_waited_long_enough() -> None:
    flow = WaitingRoomSize()
    for _ in range(PATIENCE_SWEEPS - 1):
        assert flow.room(0, 5_000) == 5_000
    assert flow.room(0, 5_000) == WAITING_ROOM_MIN


def test_a_slow_lane_keeps_what_it_sends_in_seconds() -> None:
    flow = WaitingRoomSize()
    for _ in range(PATIENCE_SWEEPS):
        room = flow.room(1_000, 5_000)
    assert room == int(1_000 * WAITING_ROOM_S)


def test_the_best_of_the_last_seconds_counts() -> None:
    flow = WaitingRoomSize()
    flow.room(2_000, 9_000)
    for _ in range(PATIENCE_SWEEPS - 2):
        flow.room(0, 9_000)
    assert flow.room(0, 9_000) == int(2_000 * WAITING_ROOM_S)
    assert flow.room(0, 9_000) == WAITING_ROOM_MIN


def test_what_is_being_sent_now_counts_before_the_second_is_over() -> None:
    flow = WaitingRoomSize()
    assert flow.soon(0) == 0
    flow.room(2_000, 9_000)
    assert (flow.soon(0), flow.soon(3_000)) == (int(2_000 * WAITING_ROOM_S), int(3_000 * WAITING_ROOM_S))


def test_a_lane_that_was_empty_in_between_begins_anew() -> None:
    flow = WaitingRoomSize()
    for _ in range(PATIENCE_SWEEPS):
        flow.room(0, 900)
    assert flow.room(0, 0) == 0
    assert flow.room(0, 900) == 900
