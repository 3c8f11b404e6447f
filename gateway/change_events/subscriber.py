"""One connection to a Redis on which writers, or Redis itself, tell of changed data.

Pub/sub forgets what is told while nobody listens: how long that was is counted and said.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

import structlog

from gateway.change_events.standby_buffer import Shelf
from gateway.errors import StoreDown
from gateway.store import keys
from gateway.store.address import Address
from gateway.store.connection import Link, Reply
from gateway.store.subscriptions import Channel, Subscriptions
from protocols.change_events import missing_flags, pattern

_REPLY_S: Final = 3.0
_FLAGS: Final = "notify-keyspace-events"

_log = structlog.get_logger("events")


class Hearing(NamedTuple):
    """What an ear listens for.

    Attributes:
        channels: on which writers tell.
        keyspace: whether Redis tells of RhoConnect's documents, and whether it is made to.
    """

    channels: Sequence[str] = ()
    keyspace: Literal["off", "listen", "configure"] = "off"


class Ear:
    """Listens on one Redis, and says so when it could not.

    Args:
        address: of the Redis.
        hearing: what for.
        told: gets kind, channel and data of each message.
        marked: called when a mark was heard.
        deaf: called with the seconds for which nothing could be heard, once it can again.
    """

    def __init__(
        self,
        address: Address,
        hearing: Hearing,
        told: Callable[["Ear", Reply], None],
        marked: Callable[["Ear", str], None],
        deaf: Callable[[float], None],
    ) -> None:
        self.shelf = Shelf()
        self.seen = 0
        """Number of the newest mark of this gateway's own that was heard."""
        self.lost = False
        """The connection was lost since somebody last looked."""
        self._address = address
        self._hearing = hearing
        self._told, self._marked, self._deaf = told, marked, deaf
        self._down_since: float | None = None
        self._subscriptions = Subscriptions(lambda: self._link, _channels(hearing, address.db))
        self._link = Link(
            address, "events", reply_s=_REPLY_S, on_push=self._pushed, on_up=self._up, on_down=self._down
        )

    async def open(self, timeout_s: float) -> None:
        """Begin to listen, and go on until `close`. Raises StoreDown."""
        await self._link.open(timeout_s)

    async def close(self) -> None:
        """Stop."""
        self._subscriptions.close()
        await self._link.close()

    @property
    def up(self) -> bool:
        """Whether it can hear."""
        return self._link.up

    def publish(self, mark: str) -> None:
        """Put a mark among the changes. It also proves that the connection lives."""
        self._link.post("PUBLISH", keys.MARKS, mark)

    def prove(self) -> None:
        """Ask for an answer, so that a dead connection is noticed."""
        self._link.post("PING")

    def _up(self) -> None:
        self._subscriptions.begin()
        if self._hearing.keyspace != "off":
            self._link.call_then(("CONFIG", "GET", _FLAGS), self._flags)
        if self._down_since is not None:
            self._deaf(time.monotonic() - self._down_since)
            self._down_since = None

    def _down(self) -> None:
        self._down_since = time.monotonic()
        self.lost = True

    def _flags(self, reply: Reply) -> None:
        """Look whether Redis tells of documents at all; a restarted one has forgotten what it was told."""
        if isinstance(reply, StoreDown):
            _log.warning("keyspace_unknown", error=reply.message)
            return
        configured = _flags_in(reply)
        missing = missing_flags(configured)
        if missing and self._hearing.keyspace == "configure":
            self._link.call_then(("CONFIG", "SET", _FLAGS, configured + missing), self._configured)
        elif missing:
            _log.warning("keyspace_not_configured", redis=str(self._address), missing=missing)

    def _configured(self, reply: Reply) -> None:
        if isinstance(reply, StoreDown):
            _log.warning("keyspace_not_configured", redis=str(self._address), error=reply.message)
        else:
            _log.info("keyspace_configured", redis=str(self._address))

    def _pushed(self, message: Reply) -> None:
        if message[0] == b"message" and message[1] == keys.MARKS.encode():
            self._marked(self, message[2].decode("utf-8", "replace"))
        elif message[0] in (b"message", b"pmessage"):
            self._told(self, message)


def _channels(hearing: Hearing, db: int) -> list[Channel]:
    found = [Channel(keys.MARKS, "after a failover, changes may make one more ping")]
    found += [Channel(name, f"changes published on {name}") for name in hearing.channels]
    if hearing.keyspace != "off":
        found.append(Channel(pattern(db), "changes of documents (events.keyspace)", pattern=True))
    return found


def _flags_in(reply: Reply) -> str:
    """The value in CONFIG GET's answer: a map in RESP3."""
    values = list(reply.values()) if isinstance(reply, dict) else list(reply)[1::2]
    return values[0].decode() if values else ""
