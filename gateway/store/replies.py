"""Errors that replies on a `RedisConnection` become: error replies, and replies lost with the connection."""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.errors import StoreDown, StoreRefused
from gateway.store.error_replies import is_lasting, one_line
from gateway.store.lua import BAD_VALUE


class ConnectionLost(StoreDown):
    """The connection is lost. `sent`: whether the command may have reached Redis."""

    label = "redis_connection_lost"

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class RedisReplyError(StoreDown):
    """Redis answered this command with an error.

    Attributes:
        words: Redis' error, without the arguments of the command.
    """

    label = "redis_reply_error"

    def __init__(self, words: str) -> None:
        self.words = one_line(words)
        super().__init__(self.words)

    @property
    def for_now(self) -> bool:
        """Whether Redis refused a write that it would accept at another time."""
        return self.words.startswith(("OOM", "MISCONF", "NOREPLICAS"))

    @property
    def of_data(self) -> bool:
        """Whether the error is about an unusable key or value, not about Redis' state."""
        return any(words in self.words for words in ("WRONGTYPE", "not an integer", BAD_VALUE))


class RedisReplyRefused(RedisReplyError, StoreRefused):
    """Redis answered this command with an error that lasts until an operator changes something."""

    label = "store_refused"


def reply_error(words: str) -> RedisReplyError:
    """The exception for an error reply."""
    return RedisReplyRefused(words) if is_lasting(words) else RedisReplyError(words)


def resolver(future: asyncio.Future[Any]) -> Callable[[Any], None]:
    """A callback that ends a future with a reply, unless the future has ended."""

    def resolve(reply: Any) -> None:
        if future.done():
            return
        if isinstance(reply, StoreDown):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    return resolve
