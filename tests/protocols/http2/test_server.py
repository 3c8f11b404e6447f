from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.http2.client import ClientConnection
from protocols.http2.server import BODY_MAX, ServerConnection
from tests.support.http2 import OK, Pair, request, status


def test_a_long_request_is_counted_in_full_and_kept_in_part() -> None:
    pair = Pair().pump().submit(body=b"x" * (BODY_MAX + 5000)).pump()
    assert (len(pair.requests[0].body), pair.requests[0].body_size) == (BODY_MAX, BODY_MAX + 5000)


def test_accept_all_answers_each_finished_request_once() -> None:
    client, server = ClientConnection(deadline_s=9), ServerConnection(streams_limit=50)
    server.answer_all(client.take_output(), OK)
    client.receive(server.take_output(), 0.0)
    client.submit_batch([(request(), body, body) for body in (b"", b"{}", b"x" * 40_000)], 0.0)
    data = client.take_output()
    assert server.answer_all(data, OK) == 3
    assert [(one.context[:2], one.status) for one in client.receive(server.take_output(), 0.0)] == [
        (b"", 200),
        (b"{}", 200),
        (b"xx", 200),
    ]


def test_an_eager_server_has_the_request_before_its_body() -> None:
    pair = Pair(server=ServerConnection(eager=True, window=1)).pump().submit(body=b"long").pump()
    assert [(one.body, one.body_size) for one in pair.requests] == [(b"", 0)]
    pair.server.respond(pair.streams[0], OK)
    assert pair.pump().outcomes[0].status == 200


def test_a_request_that_the_client_resets_is_forgotten() -> None:
    client = ClientConnection(deadline_s=9)
    pair = Pair(client).pump()
    pair.submit(body=b"more than the window lets out" * 5000)
    pair.requests += pair.server.receive(client.take_output())
    assert (pair.server.open_streams, pair.requests) == (1, [])
    client._engine.reset_stream(1)
    pair.pump()
    assert pair.server.open_streams == 0
    pair.server.respond(1, OK)
    pair.server.reset(1)
    assert pair.server.take_output() == b""


def test_both_sides_end_after_goaway_when_streams_have() -> None:
    pair = Pair().pump().submit().pump()
    pair.server.go_away(debug_data=b"bye")
    pair.pump()
    assert not pair.server.closed
    pair.server.respond(pair.streams[0], status(200))
    pair.pump()
    assert pair.server.closed


def test_after_the_end_every_call_is_harmless() -> None:
    server = ServerConnection()
    server.receive(b"no http2 at all, and long enough to be seen as such")
    server.take_output()
    assert server.closed
    server.respond(1, OK)
    server.respond_part(1, OK, b"x")
    server.respond_trailers(1, [(b"a", b"b")])
    server.inform(1, status(103))
    server.limit_streams(3)
    server.announce_shutdown()
    server.go_away()
    assert (server.receive(b"x"), server.answer_all(b"x", OK), server.take_output()) == ([], 0, b"")


@given(st.binary(max_size=300), st.booleans())
@settings(deadline=None)
def test_no_bytes_raise(data: bytes, preface: bool) -> None:
    server = ServerConnection()
    start = ClientConnection(deadline_s=9).take_output() if preface else b""
    assert server.receive(start + data) == [] or preface
    server.take_output()
