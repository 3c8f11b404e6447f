"""Health of a Redis, probed once a second over an open connection."""

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
"""A Redis that has not answered for this time is reported as unresponsive."""
_PROBE: Final[Sequence[Argument]] = ("SET", keys.PROBE, "", "XX")
"""`SET … XX` on this missing key changes nothing, and is refused whenever Redis would refuse the append of a ping."""
_PING: Final[Sequence[Argument]] = ("PING",)
_READ: Final[Sequence[Argument]] = ("MGET", keys.PROBE, keys.user(PROBE_NAME, "clients"))
"""These keys do not exist either. They belong to different slots, so that a Redis in cluster mode refuses the
command."""


class RedisHealth:
    """Health of one Redis.

    Args:
        name: the setting that holds its address.
        connection: the connection used for the probes.
        written: whether pings are written to it.
        read: whether users and devices are read from it.
        pinged: whether it only has to answer.
    """

    def __init__(
        self,
        name: str,
        connection: RedisConnection,
        *,
        written: bool = False,
        read: bool = False,
        pinged: bool = False,
    ) -> None:
        self.name = name
        self._connection = connection
        probes = ((_PROBE, written), (_READ, read), (_PING, pinged))
        self._probes = tuple(words for words, wanted in probes if wanted)
        self._refusals: dict[Sequence[Argument], str | None] = {}
        self._answered_at = time.monotonic()

    def probe(self) -> None:
        """Send the probe commands without waiting for their replies."""
        for words in self._probes:
            self._connection.call_then(words, functools.partial(self._on_reply, words))

    @property
    def error_text(self) -> str | None:
        """The present problem; None: there is none."""
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
    """The health of every Redis that pings need: the queue's, and the registry's if that is another server."""
    if main == queued:
        return (RedisHealth("redis", queue, written=True, read=True),)
    return RedisHealth("queue.redis", queue, written=True), RedisHealth("redis", registry, read=True)


def _plain_reason(error: RedisReplyError | ConnectionLost) -> str | None:
    """The reason of a refusal; None: the connection was lost for an unknown reason."""
    if isinstance(error, RedisReplyRefused):
        return f"refuses: {error.words} ({cause_of(error.words)})"
    plain = refusal_text(error.message)
    if plain is not None:
        return plain
    return f"refuses: {error.words}" if isinstance(error, RedisReplyError) else None
