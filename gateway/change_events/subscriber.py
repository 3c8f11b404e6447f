"""Connection to a Redis on which writers, or Redis itself, publish changes of data.

Pub/sub drops a message that is published while no client is subscribed: the duration of such a gap is counted and
logged.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

import structlog

from gateway.change_events.standby_buffer import StandbyBuffer
from gateway.errors import StoreDown
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection, Reply
from gateway.store.subscriptions import Channel, Subscriptions
from protocols.change_events import missing_flags, pattern

_REPLY_S: Final = 3.0
_FLAGS: Final = "notify-keyspace-events"

_log = structlog.get_logger("change_events")


class Subscription(NamedTuple):
    """The channels and notifications that a subscriber receives.

    Attributes:
        channels: channels on which writers publish.
        keyspace: whether to receive keyspace notifications about RhoConnect's documents, and whether to configure
            Redis for them.
    """

    channels: Sequence[str] = ()
    keyspace: Literal["off", "listen", "configure"] = "off"


class ChangeSubscriber:
    """Subscribes on one Redis, and reports interruptions.

    Args:
        address: the address of the Redis.
        subscription: the channels and notifications.
        on_message: receives kind, channel and data of each message.
        on_mark: called with each received mark.
        on_gap: called after an interruption, with its duration in seconds.
    """

    def __init__(
        self,
        address: RedisAddress,
        subscription: Subscription,
        on_message: Callable[["ChangeSubscriber", Reply], None],
        on_mark: Callable[["ChangeSubscriber", str], None],
        on_gap: Callable[[float], None],
    ) -> None:
        self.standby_buffer = StandbyBuffer()
        self.last_mark = 0
        """Number of this gateway's newest mark that was received."""
        self.disconnected = False
        """Whether the connection was lost since the last check."""
        self._address = address
        self._subscription = subscription
        self._on_message, self._on_mark, self._on_gap = on_message, on_mark, on_gap
        self._down_since: float | None = None
        self._subscriptions = Subscriptions(lambda: self._connection, _channels_of(subscription, address.db))
        self._connection = RedisConnection(
            address, "events", reply_s=_REPLY_S, on_push=self._on_push, on_up=self._up, on_down=self._down
        )

    async def open(self, timeout_s: float) -> None:
        """Subscribe, and stay subscribed until `close`. Raises StoreDown."""
        await self._connection.open(timeout_s)

    async def close(self) -> None:
        """Unsubscribe and disconnect."""
        self._subscriptions.close()
        await self._connection.close()

    @property
    def connected(self) -> bool:
        """Whether messages are received now."""
        return self._connection.up

    def publish(self, mark: str) -> None:
        """Publish a mark between the changes. Its reception also proves that the connection works."""
        self._connection.send("PUBLISH", keys.CHANGE_EVENT_MARKS, mark)

    def probe(self) -> None:
        """Send a command, so that a missing reply reveals a broken connection."""
        self._connection.send("PING")

    def _up(self) -> None:
        self._subscriptions.begin()
        if self._subscription.keyspace != "off":
            self._connection.call_then(("CONFIG", "GET", _FLAGS), self._flags)
        if self._down_since is not None:
            self._on_gap(time.monotonic() - self._down_since)
            self._down_since = None

    def _down(self) -> None:
        self._down_since = time.monotonic()
        self.disconnected = True

    def _flags(self, reply: Reply) -> None:
        """Check whether Redis sends keyspace notifications; a restarted server has lost its configuration."""
        if isinstance(reply, StoreDown):
            _log.warning("keyspace_notifications_unknown", error=reply.message)
            return
        configured = _flags_in(reply)
        missing = missing_flags(configured)
        if missing and self._subscription.keyspace == "configure":
            self._connection.call_then(("CONFIG", "SET", _FLAGS, configured + missing), self._configured)
        elif missing:
            _log.warning("keyspace_notifications_missing", redis=str(self._address), missing=missing)

    def _configured(self, reply: Reply) -> None:
        if isinstance(reply, StoreDown):
            _log.warning("keyspace_notifications_missing", redis=str(self._address), error=reply.message)
        else:
            _log.info("keyspace_notifications_configured", redis=str(self._address))

    def _on_push(self, message: Reply) -> None:
        if message[0] == b"message" and message[1] == keys.CHANGE_EVENT_MARKS.encode():
            self._on_mark(self, message[2].decode("utf-8", "replace"))
        elif message[0] in (b"message", b"pmessage"):
            self._on_message(self, message)


def _channels_of(subscription: Subscription, db: int) -> list[Channel]:
    found = [Channel(keys.CHANGE_EVENT_MARKS, "after a failover, changes may make one more ping")]
    found += [Channel(name, f"changes published on {name}") for name in subscription.channels]
    if subscription.keyspace != "off":
        found.append(Channel(pattern(db), "changes of documents (events.keyspace)", pattern=True))
    return found


def _flags_in(reply: Reply) -> str:
    """The value in the reply to CONFIG GET, which is a map in RESP3."""
    values = list(reply.values()) if isinstance(reply, dict) else list(reply)[1::2]
    return values[0].decode() if values else ""
