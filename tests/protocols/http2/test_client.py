"""The client machine against the server machine, in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import WrongState
from protocols.http2.client import ClientConnection, ConnectionState, OutcomeKind, never_indexed
from protocols.http2.server import ServerConnection
from tests.support.http2 import OK, Pair, open_pair, request, status

CHUNKS = pytest.mark.parametrize("chunk", [None, 1, 7], ids=["whole", "byte by byte", "by sevens"])


# Requests and answers


@CHUNKS
def test_requests_arrive_complete_and_answers_have_their_contexts(chunk: int | None) -> None:
    pair = open_pair(chunk=chunk).submit(3, body=b'{"aps":{}}', apns_topic="a.b").pump()
    assert [(one.body, one.body_size) for one in pair.requests] == [(b'{"aps":{}}', 10)] * 3
    assert pair.requests[0].headers == tuple(request(apns_topic="a.b"))
    assert (pair.client.in_flight, pair.outcomes) == (3, [])
    first, second, third = pair.streams
    pair.server.respond(third, status(200, apns_id="X"))
    pair.server.respond(first, status(410), b'{"reason":"Unregistered"}')
    pair.server.respond(second, status(429, retry_after="7"))
    pair.pump()
    found = {one.context: one for one in pair.outcomes}
    assert found[2] == (2, OutcomeKind.ANSWERED, 200, ((b":status", b"200"), (b"apns-id", b"X")), b"", "")
    assert found[0][1:5] == (OutcomeKind.ANSWERED, 410, ((b":status", b"410"),), b'{"reason":"Unregistered"}')
    assert found[1].headers[1] == (b"retry-after", b"7")
    assert (len(pair.outcomes), pair.client.in_flight, pair.client.capacity) == (3, 0, 100)


@CHUNKS
def test_an_interim_answer_and_trailers_change_nothing(chunk: int | None) -> None:
    pair = open_pair(chunk=chunk).submit().pump()
    (stream,) = pair.streams
    pair.server.inform(stream, status(103, link="x"))
    pair.pump()
    pair.server.respond_part(stream, status(200), b"part")
    pair.pump()
    assert pair.outcomes == []
    pair.server.respond_trailers(stream, [(b"grpc-status", b"0")])
    pair.pump()
    assert pair.outcomes[0][1:] == (OutcomeKind.ANSWERED, 200, ((b":status", b"200"),), b"part", "")


def test_a_request_without_a_body_ends_with_its_headers() -> None:
    pair = open_pair().submit(body=b"").pump()
    assert pair.requests[0].body_size == 0


def test_an_answer_may_come_before_the_request_has_ended() -> None:
    pair = Pair(server=ServerConnection(window=10, eager=True)).pump()
    pair.submit(body=b"x" * 1000).pump()
    (stream,) = pair.streams
    pair.server.respond(stream, status(413), b"{}")
    pair.pump()
    pair.server.reset(stream, 0)
    pair.pump()
    assert pair.outcomes == [(0, OutcomeKind.ANSWERED, 413, ((b":status", b"413"),), b"{}", "")]


def test_a_body_over_its_limit_is_truncated_and_its_stream_ended() -> None:
    pair = open_pair(body_max=1000).submit().pump()
    pair.server.respond(pair.streams[0], status(500), b"y" * 60_000)
    pair.pump()
    assert pair.outcomes[0][1:] == (
        OutcomeKind.ANSWERED,
        500,
        ((b":status", b"500"),),
        b"y" * 1000,
        "body cut",
    )
    assert (pair.client.in_flight, pair.client.state, pair.server.open_streams) == (
        0,
        ConnectionState.OPEN,
        0,
    )


def test_a_body_of_exactly_its_cap_is_whole() -> None:
    pair = open_pair(body_max=1000).submit().pump()
    pair.server.respond(pair.streams[0], status(500), b"y" * 1000)
    assert pair.pump().outcomes[0][4:] == (b"y" * 1000, "")


def test_a_peer_whose_answers_are_all_too_large_is_retired() -> None:
    pair = open_pair(body_max=10).submit(17).pump()
    for stream in pair.streams[:15]:
        pair.server.respond(stream, status(200), b"y" * 20)
    assert pair.pump().client.state is ConnectionState.OPEN
    for stream in pair.streams[15:]:
        pair.server.respond(stream, status(200), b"y" * 20)
    pair.pump()
    assert (pair.client.state, pair.client.reason) == (ConnectionState.CLOSED, "answers too large")
    assert [one.status for one in pair.outcomes] == [200] * 17


def test_flow_control_windows_are_returned() -> None:
    assert Pair().pump().server._engine.remote_window_size == 1 << 20
    # Ten times both default windows of 65,535 bytes, in each direction, in responses below the limit.
    pair = open_pair()
    pair.submit(20, body=b"x" * 33_000).pump()
    assert sum(one.body_size for one in pair.requests) == 660_000
    for stream in pair.streams:
        pair.server.respond(stream, status(200), b"y" * 60_000)
    pair.pump()
    assert sum(len(one.body) for one in pair.outcomes) == 1_200_000


def test_a_header_block_that_cannot_be_sent_gets_a_local_431_and_is_not_repeated() -> None:
    pair = open_pair().submit(1, token="ab" * 40_000).submit(1).pump()
    first = pair.outcomes[0]
    assert first[:3] == (0, OutcomeKind.ANSWERED, 431)
    assert "not sent" in first.reason and "abab" not in first.reason
    assert len(pair.requests) == 1


def test_changing_headers_are_kept_out_of_the_compression_table() -> None:
    def size_of_second(header: tuple[bytes, bytes]) -> int:
        pair = open_pair()
        sizes = []
        for _ in range(2):
            pair.client.submit([*request(), header], b"", 0, 0.0)
            sizes.append(len(pair.client.take_output()))
        return sizes[1]

    indexed, kept_out = (b"apns-id", b"u" * 36), never_indexed(b"apns-id", b"u" * 36)
    assert size_of_second(kept_out) > size_of_second(indexed) + 20


# The peer's stream limit


def test_one_stream_before_the_peers_settings() -> None:
    pair = Pair()
    assert (pair.client.state, pair.client.capacity) == (ConnectionState.CONNECTING, 1)
    pair.submit()
    assert pair.client.capacity == 0
    with pytest.raises(WrongState):
        pair.submit()
    pair.pump()
    assert len(pair.requests) == 1


def test_without_a_limit_of_the_peers_our_own_holds() -> None:
    assert open_pair(limit=None).client.capacity == 1500


@pytest.mark.parametrize("limit", [0, 1, 3, 1499, 1500, 1501])
def test_capacity_is_exactly_the_lower_limit(limit: int) -> None:
    pair = open_pair(limit=limit)
    allowed = min(limit, 1500)
    assert pair.client.capacity == allowed
    with pytest.raises(WrongState):
        pair.submit(allowed + 1)
    assert pair.submit(allowed).client.capacity == 0
    assert len(pair.pump().requests) == allowed


def test_a_limit_of_one_that_grows_and_shrinks_is_obeyed_while_streams_are_open() -> None:
    pair = open_pair(limit=1)
    pair.submit().pump()
    pair.server.limit_streams(5)
    assert pair.pump().client.capacity == 4
    pair.submit(4).pump()
    pair.server.limit_streams(2)
    pair.pump()
    assert (pair.client.capacity, pair.client.limit, pair.client.limit_peak) == (0, 2, 5)
    for stream in pair.streams[:3]:
        pair.server.respond(stream, OK)
    assert pair.pump().client.capacity == 0  # two are open, two permitted
    pair.server.respond(pair.streams[3], OK)
    assert pair.pump().client.capacity == 1
    pair.server.limit_streams(0)
    assert pair.pump().client.capacity == 0
    pair.server.limit_streams(3)
    assert pair.pump().client.capacity == 2
    assert pair.server.open_streams == 1


def test_bodies_that_wait_for_the_window_hold_back_further_requests() -> None:
    pair = open_pair(limit=10)
    pair.submit(3, body=b"x" * 60_000)
    sent = pair.client.take_output()
    assert pair.client.capacity == 0
    pair.requests += pair.server.receive(sent)
    pair.pump()
    assert (len(pair.requests), pair.client.capacity) == (3, 7)


# The end of a connection


@CHUNKS
def test_goaway_gives_back_what_is_above_its_stream_and_the_rest_still_ends(chunk: int | None) -> None:
    pair = open_pair(chunk=chunk).submit(4).pump()
    first, second, *_ = pair.streams
    pair.server.go_away(second, b'{"reason":"Shutdown"}')
    pair.pump()
    assert pair.fates() == {2: ("UNTRIED", 0), 3: ("UNTRIED", 0)}
    assert (pair.client.state, pair.client.capacity, pair.client.failed) == (
        ConnectionState.DRAINING,
        0,
        False,
    )
    assert pair.client.reason == "GOAWAY NO_ERROR Shutdown"
    pair.server.respond(first, OK)
    pair.server.respond(second, status(503))
    pair.pump()
    assert pair.fates() == {2: ("UNTRIED", 0), 3: ("UNTRIED", 0), 0: ("ANSWERED", 200), 1: ("ANSWERED", 503)}
    assert pair.client.state is ConnectionState.CLOSED
    assert pair.client.failed is False


def test_a_graceful_pair_of_goaways_loses_nothing_between_them() -> None:
    pair = open_pair().submit(2).pump()
    pair.server.announce_shutdown()
    pair.pump()
    assert (pair.client.state, pair.client.in_flight, pair.outcomes) == (ConnectionState.DRAINING, 2, [])
    pair.server.go_away(pair.streams[0])
    pair.pump()
    pair.server.respond(pair.streams[0], OK)
    pair.pump()
    assert pair.fates() == {1: ("UNTRIED", 0), 0: ("ANSWERED", 200)}


def test_a_goaway_before_the_first_request_closes_at_once() -> None:
    pair = Pair()
    pair.server.go_away()
    pair.pump()
    assert pair.client.state is ConnectionState.CLOSED


def test_requests_crossing_a_goaway_are_returned() -> None:
    pair = open_pair()
    pair.server.go_away(0)
    goaway = pair.server.take_output()
    pair.submit(2)
    pair.client.take_output()
    pair.outcomes += pair.client.receive(goaway, 0.0)
    assert pair.fates() == {0: ("UNTRIED", 0), 1: ("UNTRIED", 0)}


def test_a_goaway_with_an_error_is_a_failure_of_the_connection() -> None:
    pair = open_pair().submit().pump()
    pair.server.go_away(0, b"", error_code=11)
    pair.pump()
    assert (pair.client.failed, pair.client.reason) == (True, "GOAWAY ENHANCE_YOUR_CALM")


def test_a_lost_connection_leaves_every_open_request_unknown() -> None:
    pair = open_pair().submit(3).pump()
    pair.server.respond(pair.streams[1], OK)
    pair.pump()
    lost = pair.client.lost("connection lost: reset")
    assert [(one.context, one.kind, one.reason) for one in lost] == [
        (0, OutcomeKind.UNKNOWN, "connection lost: reset"),
        (2, OutcomeKind.UNKNOWN, "connection lost: reset"),
    ]
    assert (pair.client.state, pair.client.failed, pair.client.capacity) == (ConnectionState.CLOSED, True, 0)
    assert pair.client.lost() == []


def test_a_request_whose_body_never_left_is_untried_when_the_connection_is_lost() -> None:
    pair = open_pair().submit(3, body=b"x" * 60_000)
    pair.client.take_output()  # the window lets 65,535 bytes out: all of the first, a part of the second
    assert [one.kind for one in pair.client.lost()] == [
        OutcomeKind.UNKNOWN,
        OutcomeKind.UNTRIED,
        OutcomeKind.UNTRIED,
    ]


def test_calls_after_the_end_raise_nothing_and_repeat_no_outcome() -> None:
    pair = open_pair().submit().pump()
    pair.client.lost()
    pair.server.respond(pair.streams[0], OK)
    assert pair.client.receive(pair.server.take_output(), 1.0) == []
    assert pair.client.expire(1000.0) == []
    pair.client.retire("again")
    assert (pair.client.reason, pair.client.has_outcomes) == ("connection lost", False)
    with pytest.raises(WrongState):
        pair.submit()


def test_retiring_lets_open_requests_end_and_sends_goaway() -> None:
    pair = open_pair().submit(2).pump()
    pair.client.retire("renewed")
    assert (pair.client.state, pair.client.capacity, pair.client.in_flight) == (
        ConnectionState.DRAINING,
        0,
        2,
    )
    pair.answer = OK
    for stream in pair.streams:
        pair.server.respond(stream, OK)
    pair.pump()
    assert [one.status for one in pair.outcomes] == [200, 200]
    assert (pair.client.state, pair.client.reason, pair.client.failed) == (
        ConnectionState.CLOSED,
        "renewed",
        False,
    )
    assert pair.server.closed


def test_a_connection_closes_when_its_stream_ids_are_used_up() -> None:
    pair = open_pair(stream_id_max=9)
    pair.answer = OK
    pair.submit(4).pump()
    assert pair.client.state is ConnectionState.OPEN  # ids 1, 3, 5, 7
    pair.submit(1).pump()
    assert (pair.client.state, pair.client.reason) == (ConnectionState.CLOSED, "stream ids used up")
    assert len(pair.outcomes) == 5


@pytest.mark.parametrize("code", [1, 2, 8, 11, 13])
def test_a_reset_is_unknown(code: int) -> None:
    pair = open_pair().submit().pump()
    pair.server.reset(pair.streams[0], code)
    assert pair.pump().outcomes[0][1:3] == (OutcomeKind.UNKNOWN, 0)
    assert pair.client.state is ConnectionState.OPEN


@pytest.mark.parametrize(
    ("code", "kind"), [(200, OutcomeKind.ANSWERED), (204, OutcomeKind.ANSWERED), (410, OutcomeKind.UNKNOWN)]
)
def test_a_broken_answer_counts_only_if_it_began_as_a_success(code: int, kind: OutcomeKind) -> None:
    pair = open_pair().submit().pump()
    pair.server.respond_part(pair.streams[0], status(code), b"{")
    pair.pump()
    pair.server.reset(pair.streams[0], 2)
    pair.pump()
    assert pair.outcomes[0][1:3] == (kind, code if kind is OutcomeKind.ANSWERED else 0)


def without_resets(output: bytes) -> bytes:
    """The output of a server that does not reset a request which it has answered early."""
    kept = b""
    while output:
        size = 9 + int.from_bytes(output[:3])
        kept += b"" if output[3] == 3 else output[:size]
        output = output[size:]
    return kept


@pytest.mark.parametrize("deadline", [True, False], ids=["deadline", "lost"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "body broken"])
@pytest.mark.parametrize("code", [200, 413])
def test_an_answer_counts_though_its_stream_never_closes(code: int, whole: bool, deadline: bool) -> None:
    """The rule of a closed stream applies: a complete response counts, and a success counts from its head on."""
    pair = Pair(ClientConnection(deadline_s=9), ServerConnection(window=0, eager=True)).pump()
    pair.submit(body=b"x" * 1000).pump()
    respond = pair.server.respond if whole else pair.server.respond_part
    respond(pair.streams[0], status(code), b"{}")
    assert pair.client.receive(without_resets(pair.server.take_output()), 1.0) == []
    (one,) = pair.client.expire(10.0) if deadline else pair.client.lost()
    if whole or code == 200:
        assert one == (0, OutcomeKind.ANSWERED, code, ((b":status", str(code).encode()),), b"{}", "")
    else:
        assert one.kind is OutcomeKind.UNKNOWN


def test_a_refused_stream_is_untried() -> None:
    pair = open_pair().submit(2).pump()
    pair.server.refuse(pair.streams[0])
    assert pair.pump().fates() == {0: ("UNTRIED", 0)}
    assert pair.client.capacity == 99


# Garbage


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 100, b"\xff" * 100])
@pytest.mark.parametrize("after_settings", [False, True])
def test_bytes_that_are_not_http2_end_the_connection(garbage: bytes, after_settings: bool) -> None:
    pair = open_pair() if after_settings else Pair()
    pair.submit()
    pair.client.take_output()
    pair.outcomes += pair.client.receive(garbage, 0.0)
    pair.client.take_output()
    pair.outcomes += pair.client.take_outcomes()
    assert pair.fates() == {0: ("UNKNOWN", 0)}
    assert (pair.client.state, pair.client.failed) == (ConnectionState.CLOSED, True)
    assert pair.client.reason.startswith("GOAWAY ")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\0\0\1\0\0\0\0\0\1x", "GOAWAY PROTOCOL_ERROR DATA: stream not opened"),
        (b"\0\0\4\x08\0\0\0\0\0\x7f\xff\xff\xff", "GOAWAY FLOW_CONTROL_ERROR"),
        (b"\0\0\1\1\5\0\0\1\1\x88", "GOAWAY PROTOCOL_ERROR request HEADERS: client received request"),
        (b"\0\0\5\5\4\0\0\0\1\0\0\0\2\x88", "GOAWAY PROTOCOL_ERROR PUSH_PROMISE: push disabled"),
    ],
    ids=["data", "window", "headers", "push"],
)
def test_a_peer_that_broke_a_rule_gets_no_further_request_and_its_fault_is_named(
    frame: bytes, reason: str
) -> None:
    pair = open_pair(limit=10).submit().pump()
    assert pair.client.capacity == 9
    assert pair.client.receive(frame, 0) == []
    assert pair.client.capacity == 0
    pair.pump()
    assert [(one.kind, one.reason) for one in pair.outcomes] == [(OutcomeKind.UNKNOWN, reason)]
    assert (pair.client.state, pair.client.reason) == (ConnectionState.CLOSED, reason)
    assert pair.client.failed


def answered_stream() -> bytes:
    pair = open_pair().submit(3).pump()
    for stream in pair.streams:
        pair.server.respond(stream, status(410, apns_id="x"), b'{"reason":"Unregistered"}')
    return pair.server.take_output()


@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=20)).map(
            lambda change: answered_stream()[: change[0]] + change[1] + answered_stream()[change[0] + 1 :]
        ),
    ),
    size=st.integers(1, 50),
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_and_every_request_ends_exactly_once(data: bytes, size: int) -> None:
    pair = open_pair().submit(3)
    pair.client.take_output()
    for start in range(0, len(data), size):
        pair.outcomes += pair.client.receive(data[start : start + size], 0.0)
        pair.client.take_output()
        pair.outcomes += pair.client.take_outcomes()
    pair.outcomes += pair.client.lost()
    assert sorted(one.context for one in pair.outcomes) == [0, 1, 2]


@given(size=st.integers(1, 200))
def test_chunks_do_not_change_outcomes(size: int) -> None:
    def outcomes(chunk: int | None) -> list[tuple[object, ...]]:
        pair = open_pair(chunk=chunk)
        pair.answer = status(400, apns_id="x")
        pair.submit(5, body=b"x" * 500).pump()
        return [tuple(one) for one in pair.outcomes]

    assert outcomes(size) == outcomes(None)
