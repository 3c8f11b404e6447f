"""Whether a Redis works, in plain words: asked once a second over a connection that stands anyway."""

import time
from collections.abc import Sequence
from typing import Final

from gateway.store import keys
from gateway.store.address import Address
from gateway.store.link import Link, LinkLost, Reply, ReplyFault, Word
from gateway.store.plain_words import refusal

_STALE_S: Final = 5.0
"""Without an answer for so long, it counts as gone."""
_PROBE: Final[Sequence[Word]] = ("SET", keys.PROBE, "", "XX")
"""Changes nothing, since there is no such key, and is refused where the append of a ping would be."""


class Health:
    """How one Redis does.

    Args:
        name: the setting that names it.
        link: over which it is asked.
        written: whether pings are written to it.
    """

    def __init__(self, name: str, link: Link, *, written: bool = False) -> None:
        self.name = name
        self._link = link
        self._words: Sequence[Word] = _PROBE if written else ("PING",)
        self._refusal: str | None = None
        self._answered_at = time.monotonic()

    def look(self) -> None:
        """Ask; nobody waits for the answer."""
        self._link.call_then(self._words, self._told)

    @property
    def trouble(self) -> str | None:
        """What is wrong with it; None: nothing."""
        if self._refusal is None and time.monotonic() - self._answered_at > _STALE_S:
            return "does not answer"
        return self._refusal

    def _told(self, reply: Reply) -> None:
        if isinstance(reply, ReplyFault | LinkLost):
            self._refusal = _plain(reply)
        else:
            self._refusal = None
        if not isinstance(reply, LinkLost):
            self._answered_at = time.monotonic()


def healths(main: Address, registry: Link, queued: Address, queue: Link) -> tuple[Health, ...]:
    """Every Redis that pings need: the queue's, and the registry's where that is another one."""
    if main == queued:
        return (Health("redis", queue, written=True),)
    return Health("queue.redis", queue, written=True), Health("redis", registry)


def _plain(error: ReplyFault | LinkLost) -> str | None:
    """Why it refuses; None: the connection was lost, and why is not known."""
    plain = refusal(error.message)
    if plain is not None:
        return plain
    return None if isinstance(error, LinkLost) else f"refuses: {error.message}"
