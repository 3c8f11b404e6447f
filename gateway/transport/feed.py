"""Interface between a pool and its user: the address to connect to, and the source of requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Final, Protocol

from protocols.http2.client import Header, RequestOutcome

OutgoingRequest = tuple[list[Header], bytes, Any]

BATCH: Final = 96
"""Requests in one write and in one event loop iteration. The provider reads the first ones while the next are
encoded; with all thousand in one write each side would wait for the other (`rhopush bench push`, at its best:
118,000 a second instead of 84,000). 64 cost 4 % more CPU a push than 96 or 128, and a small ping waits for less than
a millisecond."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider's address.

    Attributes:
        host: name or address to connect to, looked up for every connection; the certificate must match it.
        port: TCP port.
        ssl: the TLS context (see `tls.client_context`); None: HTTP/2 without TLS, by prior knowledge.
        authority: the value of `:authority` in requests.
    """

    host: str
    port: int
    ssl: SSLContext | None
    authority: str


class RequestFeed(Protocol):
    """Source of requests. All calls come from the event loop, are plain functions and must not raise."""

    def waiting(self) -> int:
        """Number of requests that could be sent now."""
        ...

    def max_batch(self) -> int:
        """Most requests that may be sent in one event loop iteration now, so that other work gets its share."""
        ...

    def take(self, n: int) -> Sequence[OutgoingRequest]:
        """Return at most `n` requests (n >= 1): headers with pseudo-headers first, body, context.

        Each request is returned exactly once, through `on_outcomes`. Fewer requests than are waiting does not mean
        that more will follow: the pool calls again at the next event on a connection, or when it is woken.
        """
        ...

    def on_outcomes(self, outcomes: Sequence[RequestOutcome]) -> None:
        """Receive outcomes. UNTRIED requests should count as waiting again immediately.

        The pool may be woken or instructed to reconnect within this call.
        """
        ...

    def on_connections_changed(self, connected: int, error: str | None) -> None:
        """The number of usable connections changed, or an attempt failed.

        Args:
            connected: connections that accept requests now.
            error: the reason why the last one failed, fit for a log; None for an orderly change.
        """
        ...
