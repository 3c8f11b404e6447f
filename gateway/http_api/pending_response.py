"""A pending response, in the order of the responses of its connection."""

from typing import Protocol

import msgspec

from gateway.errors import RhoPushError
from gateway.http_api import responses
from gateway.http_api.admission import PingAdmission
from gateway.http_api.dependencies import Dependencies
from gateway.queue.append_batch import Accepted
from protocols.http1.response import HttpResponse, encode


class ResponseContext(Protocol):
    """The part of the listening protocol (`gateway.http_api.fast_path`) that responses use.

    Attributes:
        services: the services behind the HTTP API.
        admission: admission of pings, and the counter of accepted pings.
        accepted_head: the head of an accepted ping's response, up to the ping's id.
        date: the Date header of this second.
    """

    services: Dependencies
    admission: PingAdmission
    accepted_head: bytes
    date: str


class ResponseOwner(Protocol):
    """The part of a connection (`gateway.http_api.fast_path`) that a pending response uses."""

    @property
    def server(self) -> ResponseContext:
        """The state shared by all connections."""

    def on_ready(self, response: "PendingResponse") -> None:
        """Write the responses that are ready."""


class PendingResponse(msgspec.Struct, eq=False):
    """A response in the order of its connection. The queue calls `on_outcome` with the outcome of the ping.

    A method is the callback, and not the object itself: Python calls an object with `__call__` more slowly.
    """

    _connection: ResponseOwner
    close: bool
    ping_id: str = ""
    ready: bool = False
    warning: str = ""
    """Value of X-Ping-Warning."""
    _response: HttpResponse | None = None

    def on_outcome(self, outcome: Accepted | RhoPushError | None) -> None:
        """Set the response according to the outcome."""
        server = self._connection.server
        # None, the outcome of most pings, is compared first, without a call.
        if outcome is not None and isinstance(outcome, RhoPushError):
            self._response = responses.of_error(outcome, self.ping_id)
            server.services.metrics.pings_refused(outcome.label).inc()
        else:
            server.admission.accepted.value += 1  # faster than a call of `inc`, for each ping
            if outcome is not None:
                self.ping_id = outcome.ping_id
            if self.warning:
                self._response = responses.accepted(self.ping_id, self.warning)
        self.ready = True
        self._connection.on_ready(self)

    def respond(self, response: HttpResponse) -> None:
        """Set a response that is complete already."""
        self._response = response
        self.ready = True
        self._connection.on_ready(self)

    def render(self, server: ResponseContext) -> bytes:
        """Return the bytes of the response."""
        if self._response is None and not self.close:
            return b"%b%b\r\n\r\n" % (server.accepted_head, self.ping_id.encode())
        response = self._response or responses.accepted(self.ping_id)
        return encode(response, server.date, close=self.close)
