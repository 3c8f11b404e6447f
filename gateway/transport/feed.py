"""What a pool needs to know: where to connect to, and who has requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Final, Protocol

from protocols.http2.client import Header, RequestOutcome

OutgoingRequest = tuple[list[Header], bytes, Any]

BATCH: Final = 96
"""Requests of one write, and of one turn of the loop. The provider reads the first while we make the next: with all
thousand in one write each side would wait for the other (`rhopush bench push`, at its best: 118,000 a second instead of
84,000). 64 cost 4 % more CPU a push than 96 or 128, and a small ping waits for less than a millisecond."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider's address.

    Attributes:
        host: name or address to connect to, looked up anew for every connection; the certificate must fit it.
        port: TCP port.
        ssl: the TLS context (see `tls.client_context`); None speaks HTTP/2 in the clear, by prior knowledge.
        authority: the value of `:authority` for requests.
    """

    host: str
    port: int
    ssl: SSLContext | None
    authority: str


class RequestFeed(Protocol):
    """Who has requests. All calls come from the event loop, are plain functions and must not raise."""

    def waiting(self) -> int:
        """How many requests could go out now."""
        ...

    def max_batch(self) -> int:
        """How many requests at most may leave in one turn of the loop now, before others have theirs."""
        ...

    def take(self, n: int) -> Sequence[OutgoingRequest]:
        """Hand over at most `n` requests (n >= 1): headers with pseudo-headers first, body, context.

        Each comes back exactly once, through `on_outcomes`. Fewer than are waiting is no promise of more: the pool
        asks again when something happens on a connection, or when it is woken.
        """
        ...

    def on_outcomes(self, outcomes: Sequence[RequestOutcome]) -> None:
        """Take outcomes. UNTRIED ones should count as waiting again at once.

        The pool may be woken, renewed or told to reconnect from here.
        """
        ...

    def on_connections_changed(self, connected: int, error: str | None) -> None:
        """The number of usable connections changed, or an attempt failed.

        Args:
            connected: connections that take requests now.
            error: why the last one failed, in words fit for a log; None for an orderly change.
        """
        ...
