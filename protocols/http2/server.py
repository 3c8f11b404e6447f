"""Server side of one HTTP/2 connection, without any I/O, for the provider simulators.

It can reproduce the behaviour of real and of broken providers: change limits while streams are open, refuse, reset,
send GOAWAY at a chosen stream, answer before a request has ended, or not answer at all.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from ngh2 import (
    Configuration,
    Connection,
    ConnectionClosed,
    DataReceived,
    ErrorCode,
    Event,
    NGH2Error,
    RequestReceived,
    Role,
    Setting,
    StreamClosed,
)

from protocols.headers import Header

BODY_MAX: Final = 65_536
"""Most bytes stored of a request's body; the rest is counted and dropped. APNs and FCM accept 4 to 5 KiB."""
RESET_RATE: Final = (1_000_000, 100_000)
"""An orderly client may cancel without limit; the engine's default treats a burst as an attack."""


class StreamRequest(NamedTuple):
    """One request with its complete body (or, from an eager connection, just begun).

    Attributes:
        stream_id: the stream for the response.
        headers: as received, pseudo-headers first.
        body: at most BODY_MAX bytes.
        body_size: complete length of the body in bytes.
    """

    stream_id: int
    headers: tuple[Header, ...]
    body: bytes
    body_size: int


class ServerConnection:
    """One connection as a state machine: bytes in, requests out; responses in, bytes out.

    After the end of the connection every call is harmless and has no effect.

    Attributes:
        closed: whether the connection has ended: an error, or both sides have sent GOAWAY.
        open_streams: requests that began and whose streams have not ended; not updated by `answer_all`.
    """

    def __init__(
        self, *, streams_limit: int | None = None, window: int = 65_535, eager: bool = False
    ) -> None:
        """Prepare the local SETTINGS; `take_output` returns them.

        Args:
            streams_limit: SETTINGS_MAX_CONCURRENT_STREAMS; None omits it, which means no limit.
            window: SETTINGS_INITIAL_WINDOW_SIZE in bytes, for each stream's request body; a value above 65,535 also
                applies to the connection.
            eager: whether to return requests when their headers are complete, without a body, for early responses.
        """
        self.closed = False
        self.open_streams = 0
        self._eager = eager
        self._headers: dict[int, tuple[Header, ...]] = {}
        self._bodies: dict[int, list[bytes]] = {}
        self._sizes: dict[int, int] = {}
        self._engine = Connection(Role.SERVER, Configuration(stream_reset_rate_limit=RESET_RATE))
        settings: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: window}
        if streams_limit is not None:
            settings[Setting.MAX_CONCURRENT_STREAMS] = streams_limit
        self._engine.initiate_connection(settings)
        if window > 65_535:
            self._engine.set_local_window_size(window)

    def receive(self, data: bytes) -> list[StreamRequest]:
        """Process bytes from the client. No input raises; a broken rule ends the connection."""
        requests: list[StreamRequest] = []
        for event in self._events(data):
            if isinstance(event, RequestReceived):
                self._on_request(event, requests)
            elif isinstance(event, DataReceived):
                self._on_data(event, requests)
            else:
                self._on_ended(event)
        return requests

    def answer_all(self, data: bytes, headers: Iterable[Header]) -> int:
        """Process bytes and give every complete request the same response without a body, without parsing it.

        Args:
            data: bytes from the client.
            headers: of the response, `:status` first.

        Returns:
            Number of requests that were answered.
        """
        answered = 0
        respond = self._engine.send_response
        for event in self._events(data):
            if (type(event) is DataReceived or type(event) is RequestReceived) and event.end_stream:
                try:
                    respond(event.stream_id, headers, end_stream=True)
                except NGH2Error:
                    continue  # the client has reset it meanwhile
                answered += 1
        return answered

    def respond(self, stream_id: int, headers: Iterable[Header], body: bytes = b"") -> None:
        """Answer a request: `:status` first, complete body. A stream that has ended meanwhile is ignored."""
        with suppress(NGH2Error):
            self._engine.send_response(stream_id, headers, end_stream=not body)
            if body:
                self._engine.send_data(stream_id, body, end_stream=True)

    def respond_part(self, stream_id: int, headers: Iterable[Header], body: bytes = b"") -> None:
        """Begin a response without ending it."""
        with suppress(NGH2Error):
            self._engine.send_response(stream_id, headers)
            if body:
                self._engine.send_data(stream_id, body)

    def respond_trailers(self, stream_id: int, headers: Iterable[Header]) -> None:
        """End a response that `respond_part` began with trailers (RFC 9113 §8.1)."""
        self._try(lambda: self._engine.send_trailers(stream_id, headers))

    def inform(self, stream_id: int, headers: Iterable[Header]) -> None:
        """Send an interim response (1xx) before the final one."""
        self._try(lambda: self._engine.send_informational_response(stream_id, headers))

    def reset(self, stream_id: int, error_code: int = ErrorCode.CANCEL) -> None:
        """Reset a stream. The queued part of its response that is not yet taken as output is discarded."""
        self._try(lambda: self._engine.reset_stream(stream_id, error_code))

    def refuse(self, stream_id: int) -> None:
        """Reset a stream as not processed (RFC 9113 §8.7)."""
        self.reset(stream_id, ErrorCode.REFUSED_STREAM)

    def limit_streams(self, limit: int) -> None:
        """Change SETTINGS_MAX_CONCURRENT_STREAMS for the open connection."""
        self._try(lambda: self._engine.update_settings({Setting.MAX_CONCURRENT_STREAMS: limit}))

    def announce_shutdown(self) -> None:
        """Send the first of a graceful pair of GOAWAYs (RFC 9113 §6.8), which announces the shutdown."""
        self._try(self._engine.send_shutdown_notice)

    def go_away(
        self, last_stream_id: int | None = None, debug_data: bytes = b"", error_code: int = 0
    ) -> None:
        """Send GOAWAY. Streams above `last_stream_id` (None: the last one received) end unprocessed."""
        self._try(
            lambda: self._engine.send_goaway(error_code, last_stream_id=last_stream_id, debug_data=debug_data)
        )

    def take_output(self) -> bytes:
        """The bytes for the client, joined."""
        try:
            output = self._engine.data_to_send()
            events = self._engine.events()
        except NGH2Error:
            self.closed = True
            return b""
        for event in events:
            self._on_ended(event)
        return output

    def _events(self, data: bytes) -> list[Event]:
        if self.closed:
            return []
        try:
            self._engine.receive_data(data)
            return self._engine.events()
        except NGH2Error:
            self.closed = True
            return []

    def _on_request(self, event: RequestReceived, requests: list[StreamRequest]) -> None:
        self.open_streams += 1
        if event.end_stream or self._eager:
            requests.append(StreamRequest(event.stream_id, event.headers, b"", 0))
        if not event.end_stream and not self._eager:
            self._headers[event.stream_id] = event.headers
            self._bodies[event.stream_id] = []
            self._sizes[event.stream_id] = 0

    def _on_data(self, event: DataReceived, requests: list[StreamRequest]) -> None:
        stream_id = event.stream_id
        if stream_id not in self._headers:
            return
        if self._sizes[stream_id] < BODY_MAX:
            self._bodies[stream_id].append(event.data)
        self._sizes[stream_id] += len(event.data)
        if event.end_stream:
            body = b"".join(self._bodies.pop(stream_id))[:BODY_MAX]
            size = self._sizes.pop(stream_id)
            requests.append(StreamRequest(stream_id, self._headers.pop(stream_id), body, size))

    def _on_ended(self, event: Event) -> None:
        if isinstance(event, StreamClosed):
            self._on_closed(event.stream_id)
        elif isinstance(event, ConnectionClosed):
            self.closed = True

    def _on_closed(self, stream_id: int) -> None:
        self.open_streams = max(0, self.open_streams - 1)
        if self._headers.pop(stream_id, None) is not None:
            del self._bodies[stream_id], self._sizes[stream_id]

    def _try(self, action: Callable[[], object]) -> None:
        # The client has ended the stream or connection meanwhile, so the operation has no effect.
        with suppress(NGH2Error):
            action()
