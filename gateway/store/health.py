"""Whether a Redis works, in plain words: asked once a second over a connection that stands anyway."""

import functools
import time
from collections.abc import Sequence
from typing import Final

from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import (
    Argument,
    ConnectionLost,
    RedisConnection,
    RedisReplyError,
    RedisReplyRefused,
    Reply,
)
from gateway.store.error_replies import cause_of
from gateway.store.error_text import refusal_text
from gateway.store.required_commands import PROBE_NAME

_STALE_S: Final = 5.0
"""Without an answer for so long, it counts as gone."""
_PROBE: Final[Sequence[Argument]] = ("SET", keys.PROBE, "", "XX")
"""Changes nothing, since there is no such key, and is refused where the append of a ping would be."""
_READ: Final[Sequence[Argument]] = ("MGET", keys.PROBE, keys.user(PROBE_NAME, "clients"))
"""No such keys either; they lie in several slots, so that a Redis in cluster mode refuses it."""


class RedisHealth:
    """How one Redis does.

    Args:
        name: the setting that names it.
        connection: over which it is asked.
        written: whether pings are written to it.
        read: whether users and devices are read from it.
    """

    def __init__(
        self, name: str, connection: RedisConnection, *, written: bool = False, read: bool = False
    ) -> None:
        self.name = name
        self._connection = connection
        self._probes = (*([_PROBE] if written else []), *([_READ] if read else []))
        self._refusals: dict[Sequence[Argument], str | None] = {}
        self._answered_at = time.monotonic()

    def probe(self) -> None:
        """Ask; nobody waits for the answer."""
        for words in self._probes:
            self._connection.call_then(words, functools.partial(self._on_reply, words))

    @property
    def error_text(self) -> str | None:
        """What is wrong with it; None: nothing."""
        refusal_text = next((words for words in self._refusals.values() if words is not None), None)
        if refusal_text is None and time.monotonic() - self._answered_at > _STALE_S:
            return "does not answer"
        return refusal_text

    def _on_reply(self, words: Sequence[Argument], reply: Reply) -> None:
        self._refusals[words] = (
            _plain_reason(reply) if isinstance(reply, RedisReplyError | ConnectionLost) else None
        )
        if not isinstance(reply, ConnectionLost):
            self._answered_at = time.monotonic()


def redis_healths(
    main: RedisAddress, registry: RedisConnection, queued: RedisAddress, queue: RedisConnection
) -> tuple[RedisHealth, ...]:
    """Every Redis that pings need: the queue's, and the registry's where that is another one."""
    if main == queued:
        return (RedisHealth("redis", queue, written=True, read=True),)
    return RedisHealth("queue.redis", queue, written=True), RedisHealth("redis", registry, read=True)


def _plain_reason(error: RedisReplyError | ConnectionLost) -> str | None:
    """Why it refuses; None: the connection was lost, and why is not known."""
    if isinstance(error, RedisReplyRefused):
        return f"refuses: {error.words} ({cause_of(error.words)})"
    plain = refusal_text(error.message)
    if plain is not None:
        return plain
    return f"refuses: {error.words}" if isinstance(error, RedisReplyError) else None
