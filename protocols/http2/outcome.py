"""Outcome of one request that was submitted to a connection."""

from enum import IntEnum
from typing import Any, NamedTuple

from protocols.headers import Header


class OutcomeKind(IntEnum):
    """The three possible outcomes of a request.

    UNTRIED is only used if the peer cannot have acted: it refused the stream (RFC 9113 §8.7), its GOAWAY named a
    lower stream (RFC 9113 §6.8), or the request's body had not been sent completely when the connection ended.
    """

    ANSWERED = 0
    UNTRIED = 1  # not processed by the peer: to be sent again elsewhere, immediately
    UNKNOWN = 2  # sent, without a response: it may have been processed


class RequestOutcome(NamedTuple):
    """The end of one request.

    Attributes:
        context: the object that was passed with the request, unchanged.
        kind: whether there is a response, and if not, whether the peer can have acted.
        status: HTTP status, 0 without a response. 431 with a `reason` is set locally: the header block was too large
            to be sent, and would be again.
        headers: as received, `:status` first; empty without a response.
        body: at most the connection's `body_max` bytes.
        reason: why there is no response, or the irregularity of the response; "" for an ordinary one. It contains no
            header value and no part of the request.
    """

    context: Any
    kind: OutcomeKind
    status: int = 0
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    reason: str = ""
