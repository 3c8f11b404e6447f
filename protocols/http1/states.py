"""The states of the server's side of an HTTP/1.1 connection, as a table.

```
WAITING --HEAD--> HEAD --BODY--> BODY --REQUEST--> ANSWERING --ANSWERED--> WAITING
any of these four --LAST_REQUEST--> LAST --ANSWERED--> CLOSING --LOST--> CLOSED
HEAD, BODY, ANSWERING --END, DRAIN--> LAST
WAITING --END, DRAIN--> CLOSING
any of these four --HAND_OVER--> HANDING_OVER --ANSWERED--> HANDED_OVER
                                 HANDING_OVER --DRAIN-----> LAST
any of these four, LAST --REFUSE--> REFUSED --CLOSE--> CLOSING
```

Rules:
- A server that reads requests before it has answered those before them (RFC 9112 §9.3.2) counts the responses that it
  owes beside the state. ANSWERED means that it owes none. A connection whose next request has begun meanwhile is in
  HEAD or BODY, and stays there at ANSWERED.
- In LAST no further request is read; the connection closes after the responses that are owed (RFC 9112 §9.6).
- In REFUSED the response to a request that is not read to its end is written. Its rest is read and dropped, until the
  client has closed, or for a limited time: a close with unread bytes resets the connection, and the client would lose
  the response (RFC 9112 §9.6).
- In HANDING_OVER the bytes of a request wait for the responses before it; then another reader has the connection.
- CLOSING is a transport that closes: the client has not read its last responses yet.
- Nothing leads out of HANDED_OVER, where the connection belongs to another reader, and out of CLOSED.
"""

from enum import IntEnum, auto
from typing import Final

from protocols.errors import WrongState


class ServerState(IntEnum):
    """The state of a connection. Up to ANSWERING further requests are taken; from HANDED_OVER on none is."""

    WAITING = 0  # no byte of a request came, and no response is owed
    HEAD = 1  # the head of a request is not whole
    BODY = 2  # the body of a request is not whole
    ANSWERING = 3  # responses are owed; the caller's API token may still be unknown
    LAST = 4
    HANDING_OVER = 5
    REFUSED = 6
    CLOSING = 7
    HANDED_OVER = 8
    CLOSED = 9


class ServerStep(IntEnum):
    """An event that changes the state of a connection."""

    HEAD = auto()  # bytes of a head came, and the head is not whole
    BODY = auto()  # the head is whole, and the body is not
    REQUEST = auto()  # a request is whole
    LAST_REQUEST = auto()  # a request is whole, and the connection ends after its response
    HAND_OVER = auto()  # a request came that another reader takes
    REFUSE = auto()  # a request is answered that is not read to its end
    ANSWERED = auto()  # no response is owed any more
    END = auto()  # the client sends no more
    DRAIN = auto()  # the server takes no further request
    CLOSE = auto()  # the server closes the transport
    LOST = auto()  # the transport is gone


_S, _E = ServerState, ServerStep
_READING: Final = (_S.WAITING, _S.HEAD, _S.BODY, _S.ANSWERING)
_OPEN: Final = (*_READING, _S.LAST, _S.HANDING_OVER, _S.REFUSED, _S.CLOSING)

TRANSITIONS: Final[dict[tuple[ServerState, ServerStep], ServerState]] = {
    **{(state, _E.HEAD): _S.HEAD for state in _READING if state is not _S.BODY},
    **{(state, _E.BODY): _S.BODY for state in _READING},
    **{(state, _E.REQUEST): _S.ANSWERING for state in _READING},
    **{(state, _E.LAST_REQUEST): _S.LAST for state in _READING},
    **{(state, _E.HAND_OVER): _S.HANDING_OVER for state in _READING},
    **{(state, _E.REFUSE): _S.REFUSED for state in (*_READING, _S.LAST)},
    (_S.HEAD, _E.ANSWERED): _S.HEAD,
    (_S.BODY, _E.ANSWERED): _S.BODY,
    (_S.ANSWERING, _E.ANSWERED): _S.WAITING,
    (_S.LAST, _E.ANSWERED): _S.CLOSING,
    (_S.HANDING_OVER, _E.ANSWERED): _S.HANDED_OVER,
    (_S.REFUSED, _E.ANSWERED): _S.REFUSED,
    (_S.CLOSING, _E.ANSWERED): _S.CLOSING,
    (_S.WAITING, _E.END): _S.CLOSING,
    **{(state, _E.END): _S.LAST for state in (_S.HEAD, _S.BODY, _S.ANSWERING, _S.LAST)},
    **{(state, _E.END): state for state in (_S.HANDING_OVER, _S.REFUSED, _S.CLOSING)},
    (_S.WAITING, _E.DRAIN): _S.CLOSING,
    **{(state, _E.DRAIN): _S.LAST for state in (_S.HEAD, _S.BODY, _S.ANSWERING, _S.LAST, _S.HANDING_OVER)},
    **{(state, _E.DRAIN): state for state in (_S.REFUSED, _S.CLOSING)},
    **{(state, _E.CLOSE): _S.CLOSING for state in _OPEN},
    **{(state, _E.LOST): _S.CLOSED for state in (*_OPEN, _S.CLOSED)},
}


AFTER_REQUEST: Final = {state: after for (state, step), after in TRANSITIONS.items() if step is _E.REQUEST}
AFTER_ANSWERED: Final = {state: after for (state, step), after in TRANSITIONS.items() if step is _E.ANSWERED}
"""The two steps of every request, by the state before: their look-up costs half of that in `TRANSITIONS`."""


def advance(state: ServerState, step: ServerStep) -> ServerState:
    """The state after a step.

    Raises:
        WrongState: the table has no such pair.
    """
    try:
        return TRANSITIONS[state, step]
    except KeyError as error:
        raise WrongState(f"a connection that is {state.name} cannot take {step.name}") from error
