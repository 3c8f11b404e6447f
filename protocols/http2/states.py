"""The life of a client connection, as a table.

```
CONNECTING --SETTINGS--> OPEN --GOAWAY, RETIRE--> DRAINING --EMPTY, LOST--> CLOSED
```

Rules:
- The preface is out from the first moment, so a request may be sent before the peer's SETTINGS (RFC 9113
  §3.4); until they arrive one stream is assumed.
- DRAINING opens no stream; open ones end by answer or deadline. SETTINGS and further GOAWAYs still count: a
  graceful peer sends two, the second with the true last stream (RFC 9113 §6.8).
- CLOSED is for good. Retiring or losing a closed connection changes nothing; the peer's frames no longer
  reach it.
"""

from enum import IntEnum, auto

from protocols.errors import WrongState


class ConnectionState(IntEnum):
    """Where a connection stands. Up to OPEN, streams may be opened."""

    CONNECTING = 0
    OPEN = 1
    DRAINING = 2
    CLOSED = 3


class Step(IntEnum):
    """What moves a connection on."""

    SETTINGS = auto()  # the peer's SETTINGS arrived
    GOAWAY = auto()  # the peer said it takes no more streams
    RETIRE = auto()  # we decided to open no more streams
    EMPTY = auto()  # draining, and nothing in flight is left
    LOST = auto()  # the transport is gone, or the connection broke a rule and is given up


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
        raise WrongState(f"a connection that is {state.name} cannot take {step.name}") from error
