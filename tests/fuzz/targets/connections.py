"""HTTP/2 from a provider or from a simulator's client: every request has one outcome for any input."""

from collections.abc import Callable
from typing import Final

from protocols.http2.client import ClientConnection, RequestOutcome
from protocols.http2.server import ServerConnection
from tests.fuzz.target import Target, plain

_REQUESTS: Final = 3
_HEADERS: Final = (
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"api.push.apple.com"),
    (b":path", b"/3/device/" + b"ab" * 32),
)
_DEADLINE_S: Final = 10.0
_ANSWERS: Final[tuple[Callable[[ServerConnection, int], None], ...]] = (
    lambda server, stream: server.respond(stream, [(b":status", b"200"), (b"apns-id", b"0" * 36)]),
    lambda server, stream: server.respond(stream, [(b":status", b"410")], b'{"reason":"Unregistered"}'),
    lambda server, stream: server.respond(stream, [(b":status", b"429"), (b"retry-after", b"30")], b"{}"),
    lambda server, stream: server.inform(stream, [(b":status", b"103")]),
    lambda server, stream: server.respond_part(stream, [(b":status", b"500")], b"x" * 300),
    lambda server, stream: server.respond_trailers(stream, [(b"grpc-status", b"0")]),
    lambda server, stream: server.reset(stream),
    lambda server, stream: server.refuse(stream),
    lambda server, _: server.limit_streams(1),
    lambda server, _: server.announce_shutdown(),
    lambda server, stream: server.go_away(stream, b'{"reason":"Shutdown"}'),
)
_FRAMES: Final = (
    *(b"\0\0\x08\6\0\0\0\0\0rho push", b"\0\0\x08\6\1\0\0\0\0rho push", b"\0\0\4\3\0\0\0\0\1\0\0\0\7"),
    *(b"\0\0\4\x08\0\0\0\0\0\x7f\xff\xff\xff", b"\0\0\0\4\1\0\0\0\0", b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\0"),
    *(
        b"\0\0\0\0\1\0\0\0\1",
        b"\0\0\1\1\5\0\0\0\1\x88",
        b"\0\0\0\x09\4\0\0\0\1",
        b"\0\0\4\5\4\0\0\0\1\0\0\0\2",
    ),
)


def _asked() -> tuple[ClientConnection, ServerConnection, bytes, list[int]]:
    """A connection with requests under way, its server, the server's first bytes, the requests' streams."""
    client, server = ClientConnection(deadline_s=_DEADLINE_S), ServerConnection(streams_limit=100)
    server.receive(client.take_output())
    opening = server.take_output()
    client.receive(opening, 0.0)
    client.submit_batch([(_HEADERS, b"{}", number) for number in range(_REQUESTS)], 0.0)
    asked = client.take_output()
    return client, server, opening, [request.stream_id for request in server.receive(asked)]


def _answered(data: bytes) -> None:
    client, _, _, _ = _asked()
    found: list[RequestOutcome] = []
    cut = len(data) // 2
    for piece in (data[:cut], data[cut:]):
        found += client.receive(piece, 1.0)
        client.take_output()
    found += client.expire(2 * _DEADLINE_S)
    found += client.lost()
    assert sorted(one.context for one in found) == list(range(_REQUESTS))
    assert client.in_flight == 0
    assert client.reason.isprintable()


def _answers() -> tuple[bytes, ...]:
    found = []
    for answer in _ANSWERS:
        _, server, _, streams = _asked()
        server.take_output()
        answer(server, streams[0])
        found.append(server.take_output())
    return tuple(found)


def _preface() -> bytes:
    client = ClientConnection(deadline_s=_DEADLINE_S)
    opening = client.take_output()
    _, _, settings, _ = _asked()
    client.receive(settings, 0.0)
    client.submit_batch([(_HEADERS, b'{"aps":{}}', None)] * 2, 0.0)
    return opening + client.take_output()


def _requested(data: bytes) -> None:
    server = ServerConnection(streams_limit=100)
    cut = len(data) // 2
    for piece in (data[:cut], data[cut:]):
        for request in server.receive(piece):
            assert request.body_size >= len(request.body)
            server.respond(request.stream_id, [(b":status", b"200")], b"{}")
        server.take_output()
    assert server.open_streams >= 0


TARGETS: Final = (
    Target("http2-answers", plain(_answered), _answers(), _FRAMES, byte_s=1e-5),
    Target("http2-requests", plain(_requested), (_preface(),), _FRAMES, byte_s=1e-5),
)
