"""Time in the client machine: deadlines, silence, and peers that permit no stream."""

import pytest

from protocols.http2.client import ConnectionState, OutcomeKind
from protocols.http2.server import ServerConnection
from tests.support.http2 import OK, Pair, open_pair, status


def test_a_request_is_late_after_its_deadline_and_not_before() -> None:
    pair = open_pair().submit(2).pump()
    pair.server.respond(pair.streams[0], OK)
    pair.now_s = 8.0
    pair.pump()
    assert pair.expire(9.0) == []
    assert [(one.context, one.kind, one.reason) for one in pair.expire(9.0 + 9.0 / 64)] == [
        (1, OutcomeKind.UNKNOWN, "deadline")
    ]
    assert (pair.client.in_flight, pair.client.state) == (0, ConnectionState.OPEN)


def test_a_late_stream_keeps_its_slot_until_it_closes_and_its_answer_is_dropped() -> None:
    pair = open_pair(limit=4).submit(1).pump()
    pair.now_s = 8.9
    pair.submit(1).pump()
    pair.server.respond(pair.streams[1], OK)
    pair.pump()
    assert len(pair.expire(9.5)) == 1
    assert pair.client.capacity == 3
    pair.server.respond(pair.streams[0], status(200), b"late")
    pair.pump()
    assert pair.client.capacity == 4
    assert pair.fates() == {1: ("ANSWERED", 200), 0: ("UNKNOWN", 0)}


@pytest.mark.parametrize(
    ("limit", "late", "retired"),
    [(1, 1, True), (8, 3, False), (8, 4, True), (100, 15, False), (100, 16, True)],
)
def test_many_late_answers_retire_the_connection(limit: int, late: int, retired: bool) -> None:
    pair = open_pair(limit=limit).submit(late).pump()
    pair.now_s = 8.9
    if limit > late:
        pair.submit(1).pump()
    else:
        pair.server.limit_streams(limit)
        pair.pump()
    assert len(pair.expire(9.5)) == late
    assert (pair.client.state > ConnectionState.OPEN) is retired
    assert pair.client.failed is retired
    assert pair.client.reason == ("late answers" if retired else "")
    assert pair.client.in_flight == (1 if limit > late else 0)


def test_deadlines_of_many_batches_stay_few_and_in_order() -> None:
    pair = open_pair(limit=1000)
    for step in range(900):
        pair.now_s = step / 100  # 9 s of batches, ten milliseconds apart
        pair.submit(1)
    pair.pump()
    assert len(pair.client._due) <= 65
    late = [one.context for one in pair.expire(10.0)]
    assert late == list(range(len(late)))
    # Sent by 0.859 s: certainly late (a grain is 9 s / 64). Sent after 1 s: certainly not.
    assert 86 <= len(late) <= 101


def test_a_silent_peer_gets_a_ping_and_is_then_disconnected() -> None:
    pair = open_pair().submit(2).pump()
    assert pair.expire(2.9) == []
    assert pair.client.take_output() == b""
    pair.expire(3.0)
    ping = pair.client.take_output()
    assert len(ping) == 17 and ping[3] == 6
    assert pair.expire(5.9) == []
    assert [(one.kind, one.reason) for one in pair.expire(6.0)] == [(OutcomeKind.UNKNOWN, "silent peer")] * 2
    assert (pair.client.state, pair.client.silent, pair.client.failed) == (ConnectionState.CLOSED, True, True)


def test_a_peer_that_answers_pings_is_waited_for_until_the_deadline() -> None:
    pair = open_pair().submit(1).pump()
    for second in range(1, 9):
        pair.expire(float(second))
        pair.pump()
    assert pair.outcomes == []
    pair.expire(9.2)
    assert pair.outcomes[0].reason == "deadline"


def test_an_idle_connection_sends_a_ping_after_its_idle_time_only() -> None:
    pair = open_pair(idle_ping_s=300)
    pair.expire(299.0)
    assert pair.client.take_output() == b""
    pair.expire(300.0)
    pair.pump()
    pair.expire(599.0)
    assert pair.client.state is ConnectionState.OPEN
    pair.expire(600.0)
    pair.expire(603.0)
    assert (pair.client.state, pair.client.reason) == (ConnectionState.CLOSED, "silent peer")


def test_a_peer_that_permits_no_stream_is_disconnected_after_a_deadline() -> None:
    pair = open_pair()
    pair.server.limit_streams(0)
    pair.pump()
    for second in (1.0, 9.9):
        pair.expire(second)
        pair.pump()
    assert (pair.client.capacity, pair.client.state) == (0, ConnectionState.OPEN)
    pair.expire(10.0)
    assert (pair.client.state, pair.client.reason, pair.client.failed) == (
        ConnectionState.CLOSED,
        "no room",
        True,
    )


def test_a_peer_that_makes_room_in_time_is_kept() -> None:
    pair = open_pair()
    for limit in (0, 1, 0):
        pair.server.limit_streams(limit)
        for _ in range(8):
            pair.expire(pair.now_s + 1)
            pair.pump()
    assert pair.client.state is ConnectionState.OPEN


def test_a_peer_whose_window_stays_closed_is_disconnected_after_its_requests() -> None:
    pair = Pair(server=ServerConnection(window=0)).pump()
    pair.submit(1).pump()
    assert pair.client.capacity == 0
    for _ in range(30):
        pair.expire(pair.now_s + 1)
        pair.pump()
    assert pair.fates() == {0: ("UNKNOWN", 0)}
    assert (pair.client.state, pair.client.reason, pair.client.failed) == (
        ConnectionState.CLOSED,
        "no room",
        True,
    )
