"""Whether a lane can reach its provider, as a table.

```
UNTRIED --CONNECTED--> UP --FAILED--> DOWN --CONNECTED--> UP
UNTRIED --FAILED-----> DOWN
```

Rules:
- FAILED is a failed attempt to connect, or the failure of the last usable connection. The orderly end of an idle
  connection is not an event.
- DOWN lasts from the first failure; further failures only change the error.
"""

from enum import IntEnum, auto
from typing import Final, NamedTuple


class LinkState(IntEnum):
    """Result of a lane's last attempt to reach its provider."""

    UNTRIED = auto()
    UP = auto()
    DOWN = auto()


class LinkEvent(IntEnum):
    """Events that change a link."""

    CONNECTED = auto()  # there is a usable connection
    FAILED = auto()  # there is none, and the last attempt or connection failed


TRANSITIONS: Final[dict[tuple[LinkState, LinkEvent], LinkState]] = {
    (LinkState.UNTRIED, LinkEvent.CONNECTED): LinkState.UP,
    (LinkState.UNTRIED, LinkEvent.FAILED): LinkState.DOWN,
    (LinkState.UP, LinkEvent.CONNECTED): LinkState.UP,
    (LinkState.UP, LinkEvent.FAILED): LinkState.DOWN,
    (LinkState.DOWN, LinkEvent.CONNECTED): LinkState.UP,
    (LinkState.DOWN, LinkEvent.FAILED): LinkState.DOWN,
}


class Link(NamedTuple):
    """State of a link.

    Attributes:
        state: whether the provider can be reached.
        error: reason for a log; "" unless the link is down.
    """

    state: LinkState = LinkState.UNTRIED
    error: str = ""

    def after(self, event: LinkEvent, error: str = "") -> "Link":
        """The link after an event; `error` belongs to a failure."""
        return Link(TRANSITIONS[self.state, event], error)


UNTRIED_LINK: Final = Link()
