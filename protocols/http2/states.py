"""States of a client connection, as a table.

```
CONNECTING --SETTINGS--> OPEN --GOAWAY, RETIRE--> DRAINING --EMPTY, LOST--> CLOSED
```

Rules:
- The preface is sent at the beginning, so a request may be sent before the peer's SETTINGS (RFC 9113 §3.4); until
  they arrive one stream is assumed.
- DRAINING opens no stream; open ones end by a response or the deadline. SETTINGS and further GOAWAYs still count: a
  graceful peer sends two, the second with the true last stream (RFC 9113 §6.8).
- CLOSED is final. Retiring or losing a closed connection changes nothing; the peer's frames are no longer processed.
"""

from enum import IntEnum, auto

from protocols.errors import WrongState


class ConnectionState(IntEnum):
    """State of a connection. In the states up to OPEN, streams may be opened."""

    CONNECTING = 0
    OPEN = 1
    DRAINING = 2
    CLOSED = 3


class Step(IntEnum):
    """Events that change the state of a connection."""

    SETTINGS = auto()  # the peer's SETTINGS arrived
    GOAWAY = auto()  # the peer reported that it accepts no more streams
    RETIRE = auto()  # the caller decided to open no more streams
    EMPTY = auto()  # draining, and no request is in flight
    LOST = auto()  # the transport is lost, or the connection broke a rule and is ended


TRANSITIONS: dict[tuple[ConnectionState, Step], ConnectionState] = {
    (ConnectionState.CONNECTING, Step.SETTINGS): ConnectionState.OPEN,
    (ConnectionState.CONNECTING, Step.GOAWAY): ConnectionState.DRAINING,
    (ConnectionState.CONNECTING, Step.RETIRE): ConnectionState.DRAINING,
    (ConnectionState.CONNECTING, Step.LOST): ConnectionState.CLOSED,
    (ConnectionState.OPEN, Step.SETTINGS): ConnectionState.OPEN,
    (ConnectionState.OPEN, Step.GOAWAY): ConnectionState.DRAINING,
    (ConnectionState.OPEN, Step.RETIRE): ConnectionState.DRAINING,
    (ConnectionState.OPEN, Step.LOST): ConnectionState.CLOSED,
    (ConnectionState.DRAINING, Step.SETTINGS): ConnectionState.DRAINING,
    (ConnectionState.DRAINING, Step.GOAWAY): ConnectionState.DRAINING,
    (ConnectionState.DRAINING, Step.RETIRE): ConnectionState.DRAINING,
    (ConnectionState.DRAINING, Step.EMPTY): ConnectionState.CLOSED,
    (ConnectionState.DRAINING, Step.LOST): ConnectionState.CLOSED,
    (ConnectionState.CLOSED, Step.RETIRE): ConnectionState.CLOSED,
    (ConnectionState.CLOSED, Step.LOST): ConnectionState.CLOSED,
}


def advance(state: ConnectionState, step: Step) -> ConnectionState:
    """The state after a step.

    Raises:
        WrongState: the table has no such pair.
    """
    try:
        return TRANSITIONS[state, step]
    except KeyError as error:
        raise WrongState(f"a connection in state {state.name} does not accept {step.name}") from error
