"""The channels of one `RedisConnection`, subscribed to separately, since Redis may refuse some of them to its user.

A refused channel is logged once, with the consequence, and tried again once a minute, since an operator may have
permitted it meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog

from gateway.store.connection import RedisConnection, RedisReplyError, Reply

_log = structlog.get_logger("store")

_RETRY_S: Final = 60.0


class Channel(NamedTuple):
    """A channel or pattern.

    Attributes:
        name: its name in Redis.
        consequence: the function that does not work without it, for the log.
        pattern: whether it is a pattern.
    """

    name: str
    consequence: str
    pattern: bool = False


class Subscriptions:
    """Subscribes to channels.

    Args:
        connection: returns the connection, which has `on_push`.
        channels: the channels to subscribe to.
        changed: called when a channel was refused, or was accepted after a refusal.
    """

    def __init__(
        self,
        connection: Callable[[], RedisConnection],
        channels: Sequence[Channel],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._channels = channels
        self._changed = changed
        self._retry_timer: asyncio.TimerHandle | None = None
        self.refused: dict[str, str] = {}
        """Channel -> the error of Redis."""

    def begin(self) -> None:
        """Subscribe to all channels, on a new connection."""
        for channel in self._channels:
            self._subscribe(channel)

    def close(self) -> None:
        """Stop trying refused channels again."""
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None

    def _subscribe(self, channel: Channel) -> None:
        def answered(reply: Reply) -> None:
            if isinstance(reply, RedisReplyError):
                self._refuse(channel, reply.words)
            elif reply == b"OK" and self.refused.pop(channel.name, None) is not None:
                _log.info("redis_channel_accepted", channel=channel.name)
                self._changed()

        self._connection().subscribe(channel.name, answered, pattern=channel.pattern)

    def _refuse(self, channel: Channel, words: str) -> None:
        known = channel.name in self.refused
        self.refused[channel.name] = words
        if self._retry_timer is None:
            self._retry_timer = asyncio.get_running_loop().call_later(_RETRY_S, self._try_again)
        if not known:
            _log.warning(
                "redis_channel_refused", channel=channel.name, error=words, consequence=channel.consequence
            )
            self._changed()

    def _try_again(self) -> None:
        self._retry_timer = None
        for channel in self._channels:
            if channel.name in self.refused:
                self._subscribe(channel)
