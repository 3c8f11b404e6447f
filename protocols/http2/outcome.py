"""What became of one request that was given to a connection."""

from enum import IntEnum
from typing import Any, NamedTuple

from protocols.headers import Header


class OutcomeKind(IntEnum):
    """The three things that can become of a request.

    UNTRIED is only said where the peer cannot have acted: it refused the stream (RFC 9113 §8.7), its GOAWAY
    named a lower stream (RFC 9113 §6.8), or the request's body had not yet left when the connection ended.
    """

    ANSWERED = 0
    UNTRIED = 1  # not processed by the peer: send it again elsewhere, at once
    UNKNOWN = 2  # sent, and no answer: it may have been processed


class RequestOutcome(NamedTuple):
    """One request's end.

    Attributes:
        context: what was given with the request, untouched.
        kind: whether there is an answer, and if not, whether the peer can have acted.
        status: HTTP status, 0 without an answer. 431 with a `reason` is our own: the header block was too
            large to be sent, and would be again.
        headers: as received, `:status` first; empty without an answer.
        body: at most the connection's `body_max` bytes.
        reason: why there is no answer, or what is odd about it; "" for an ordinary answer. Holds no header
            value and nothing of the request.
    """

    context: Any
    kind: OutcomeKind
    status: int = 0
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    reason: str = ""
