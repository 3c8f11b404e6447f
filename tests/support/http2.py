"""A client machine and a server machine connected in memory."""

from collections.abc import Iterator
from typing import Any

from protocols.http2.client import ClientConnection, ConnectionState, Header, Http2Limits, RequestOutcome
from protocols.http2.server import ServerConnection, StreamRequest

OK: list[Header] = [(b":status", b"200")]


def status(code: int, **headers: str) -> list[Header]:
    """The headers of a response; underscores in names stand for dashes."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return [(b":status", str(code).encode()), *fields]


def request(token: str = "ab" * 32, **headers: str) -> list[Header]:
    """A push request's headers."""
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"push.test"),
        (b":path", b"/3/device/" + token.encode()),
        *fields,
    ]


def pieces(data: bytes, size: int | None) -> Iterator[bytes]:
    """The data as a whole (size None), or split."""
    step = size or max(1, len(data))
    return (data[i : i + step] for i in range(0, len(data), step))


class Pair:
    """Both ends. Results are in `outcomes` (of the client) and `requests` (of the server)."""

    def __init__(
        self,
        client: ClientConnection | None = None,
        server: ServerConnection | None = None,
        chunk: int | None = None,
    ) -> None:
        self.client = client or ClientConnection(deadline_s=9)
        self.server = server or ServerConnection()
        self.chunk = chunk
        self.now_s = 0.0
        self.outcomes: list[RequestOutcome] = []
        self.requests: list[StreamRequest] = []
        self.answer: list[Header] | None = None
        self.submitted = 0

    def pump(self) -> "Pair":
        """Transfer bytes in both directions until neither side has output."""
        while True:
            up, down = self.client.take_output(), self.server.take_output()
            self.outcomes += self.client.take_outcomes()
            if not up and not down:
                return self
            for piece in pieces(up, self.chunk):
                self._serve(self.server.receive(piece))
            for piece in pieces(down, self.chunk):
                self.outcomes += self.client.receive(piece, self.now_s)

    def _serve(self, requests: list[StreamRequest]) -> None:
        self.requests += requests
        if self.answer is not None:
            for one in requests:
                self.server.respond(one.stream_id, self.answer)

    def submit(self, count: int = 1, body: bytes = b"{}", **headers: str) -> "Pair":
        """Send requests whose contexts count up from 0."""
        sends: list[tuple[list[Header], bytes, Any]] = [
            (request(**headers), body, self.submitted + i) for i in range(count)
        ]
        self.submitted += count
        self.client.submit_batch(sends, self.now_s)
        return self

    def expire(self, now_s: float) -> list[RequestOutcome]:
        """Advance the clock and check the deadlines."""
        self.now_s = now_s
        found = self.client.expire(now_s)
        self.outcomes += found
        return found

    @property
    def streams(self) -> list[int]:
        """Stream ids of the requests, in order of arrival."""
        return [one.stream_id for one in self.requests]

    def fates(self) -> dict[int, tuple[str, int]]:
        """Context -> (outcome, status)."""
        return {one.context: (one.kind.name, one.status) for one in self.outcomes}


def open_pair(limit: int | None = 100, chunk: int | None = None, **limits: Any) -> Pair:
    """Both ends, after the server's SETTINGS arrived; `limits` as in `Http2Limits`."""
    client = ClientConnection(deadline_s=9, limits=Http2Limits(**limits))
    pair = Pair(client, ServerConnection(streams_limit=limit), chunk).pump()
    assert client.state is ConnectionState.OPEN
    return pair
