"""Whether a Redis works, in plain words: asked once a second over a connection that stands anyway."""

import functools
import time
from collections.abc import Sequence
from typing import Final

from gateway.store import keys
from gateway.store.address import Address
from gateway.store.connection import Link, LinkLost, Reply, ReplyFault, ReplyRefused, Word
from gateway.store.error_replies import cause_of
from gateway.store.error_text import refusal
from gateway.store.required_commands import PROBE_NAME

_STALE_S: Final = 5.0
"""Without an answer for so long, it counts as gone."""
_PROBE: Final[Sequence[Word]] = ("SET", keys.PROBE, "", "XX")
"""Changes nothing, since there is no such key, and is refused where the append of a ping would be."""
_READ: Final[Sequence[Word]] = ("MGET", keys.PROBE, keys.user(PROBE_NAME, "clients"))
"""No such keys either; they lie in several slots, so that a Redis in cluster mode refuses it."""


class Health:
    """How one Redis does.

    Args:
        name: the setting that names it.
        link: over which it is asked.
        written: whether pings are written to it.
        read: whether users and devices are read from it.
    """

    def __init__(self, name: str, link: Link, *, written: bool = False, read: bool = False) -> None:
        self.name = name
        self._link = link
        self._probes = (*([_PROBE] if written else []), *([_READ] if read else []))
        self._refusals: dict[Sequence[Word], str | None] = {}
        self._answered_at = time.monotonic()

    def look(self) -> None:
        """Ask; nobody waits for the answer."""
        for words in self._probes:
            self._link.call_then(words, functools.partial(self._told, words))

    @property
    def trouble(self) -> str | None:
        """What is wrong with it; None: nothing."""
        refusal = next((words for words in self._refusals.values() if words is not None), None)
        if refusal is None and time.monotonic() - self._answered_at > _STALE_S:
            return "does not answer"
        return refusal

    def _told(self, words: Sequence[Word], reply: Reply) -> None:
        self._refusals[words] = _plain(reply) if isinstance(reply, ReplyFault | LinkLost) else None
        if not isinstance(reply, LinkLost):
            self._answered_at = time.monotonic()


def healths(main: Address, registry: Link, queued: Address, queue: Link) -> tuple[Health, ...]:
    """Every Redis that pings need: the queue's, and the registry's where that is another one."""
    if main == queued:
        return (Health("redis", queue, written=True, read=True),)
    return Health("queue.redis", queue, written=True), Health("redis", registry, read=True)


def _plain(error: ReplyFault | LinkLost) -> str | None:
    """Why it refuses; None: the connection was lost, and why is not known."""
    if isinstance(error, ReplyRefused):
        return f"refuses: {error.words} ({cause_of(error.words)})"
    plain = refusal(error.message)
    if plain is not None:
        return plain
    return f"refuses: {error.words}" if isinstance(error, ReplyFault) else None
