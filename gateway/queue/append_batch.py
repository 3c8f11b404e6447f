"""Pings that are appended to the queue together, and the notification of their callers."""

import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from gateway.clock import SHARED_CLOCK
from gateway.errors import IdempotencyConflict, PossiblyAccepted, RhoPushError
from gateway.queue.entries import PING_INDEXES
from gateway.store import keys
from gateway.telemetry.values import Histogram
from protocols.ping.model import Ping


class Accepted(NamedTuple):
    """A ping is durable. `repeated`: its Idempotency-Key was accepted before, under this id."""

    ping_id: str
    repeated: bool = False


class IdempotencyKey(msgspec.Struct, frozen=True, gc=False):
    """Digests of the scope (token and key) and of the request body."""

    scope: bytes
    body: bytes


OnAppended: TypeAlias = Callable[[Accepted | RhoPushError | None], None]
"""Callback for the outcome of a ping. None: the ping is durable under the id that `submit` returned (the hot
path)."""

_CONFLICT: Final = b"conflict"


def new_batch(now_ms: int) -> str:
    """28 hex digits that sort by time and, with four more, have the form of a version 7 UUID (RFC 9562 §5.7)."""
    noise = secrets.token_hex(8)
    return f"{now_ms:012x}7{noise[:3]}8{noise[3:6]}{noise[6:14]}"


class _SameKey:
    """The callbacks of pings with the same key and body in one batch, of which the first is appended."""

    __slots__ = ("callbacks", "ping_id")

    def __init__(self, ping_id: str, first: OnAppended) -> None:
        self.ping_id = ping_id
        self.callbacks = [first]

    def __call__(self, outcome: Accepted | RhoPushError | None) -> None:
        self.callbacks[0](outcome)
        if not isinstance(outcome, RhoPushError):
            outcome = Accepted(self.ping_id if outcome is None else outcome.ping_id, repeated=True)
        for done in self.callbacks[1:]:
            done(outcome)


class AppendBatch:
    """Pings that will be appended together: all with an Idempotency-Key, or all without.

    Attributes:
        due_ms: of a scheduled batch, the instant from which it may be delivered, epoch ms; else 0.
        full: whether the batch has reached the limits of a queue entry.
        keyed: scope of a key -> index of its ping and digest of its body; in the order of the pings.
        sizes: bytes of each ping that has a key.
        renumbered: whether the pings were submitted under other ids.
    """

    __slots__ = (
        "accepted_ms",
        "attempt",
        "callbacks",
        "due_ms",
        "full",
        "id",
        "keyed",
        "pings",
        "renumbered",
        "size",
        "sizes",
        "stream",
        "users",
    )

    def __init__(self, stream: str, due_ms: int = 0) -> None:
        self.accepted_ms = SHARED_CLOCK.now_ms()
        self.id = new_batch(self.accepted_ms)
        self.stream = stream
        self.due_ms = due_ms
        self.attempt = 0
        self.pings: list[Ping] = []
        self.callbacks: list[OnAppended] = []
        self.size = 0
        self.users = 0
        self.full = False
        self.keyed: dict[bytes, tuple[int, bytes]] | None = None
        self.sizes: list[int] = []
        self.renumbered = False

    def add(self, ping: Ping, size: int, done: OnAppended) -> str:
        """Add a ping of `size` bytes; returns its id."""
        pings = self.pings
        index = len(pings)
        pings.append(ping)
        self.callbacks.append(done)
        self.size = total = self.size + size
        self.users = users = self.users + len(ping.users)
        if index + 1 >= keys.ENTRY_PINGS or total >= keys.ENTRY_BYTES or users >= keys.ENTRY_USERS:
            self.full = True
        return self.id + PING_INDEXES[index]

    def add_keyed(self, ping: Ping, size: int, done: OnAppended, key: IdempotencyKey) -> str:
        """Add a ping with a key that `admits` accepted; a ping whose key is already in the batch shares the first
        one's outcome."""
        keyed = self.keyed
        if keyed is None:
            keyed = self.keyed = {}
        first = keyed.get(key.scope)
        if first is not None:
            return self._share(first[0], done)
        keyed[key.scope] = len(self.pings), key.body
        self.sizes.append(size)
        return self.add(ping, size, done)

    def has(self, scope: bytes) -> bool:
        """Whether a ping of the batch has a key of this scope."""
        return self.keyed is not None and scope in self.keyed

    def admits(self, key: IdempotencyKey) -> bool:
        """Whether the batch does not have this key yet, or has it with the same body."""
        first = None if self.keyed is None else self.keyed.get(key.scope)
        return first is None or first[1] == key.body

    def add_idempotency_keys(self, names: list[str], words: list[str | int | bytes]) -> None:
        """Add the batch's idempotency keys and their values to the KEYS and ARGV of the script that appends it."""
        keyed, batch_id = self.keyed or {}, self.id
        names += map(keys.idempotency, keyed)
        words.append(keys.IDEMPOTENCY_S)
        words += [f"{body.hex()}:{batch_id}{PING_INDEXES[index]}" for index, body in keyed.values()]

    def _share(self, index: int, done: OnAppended) -> str:
        ping_id = self.id + PING_INDEXES[index]
        first = self.callbacks[index]
        if not isinstance(first, _SameKey):
            first = self.callbacks[index] = _SameKey(ping_id, first)
        first.callbacks.append(done)
        return ping_id

    @property
    def wait_s(self) -> int:
        """Seconds from the beginning of the batch to `due_ms`, rounded up; 0 if it is not scheduled."""
        return max(0, -((self.accepted_ms - self.due_ms) // 1000)) if self.due_ms else 0

    def notify(self, outcome: RhoPushError | None, seconds: Histogram | None = None) -> None:
        """Report the outcome of the append to the callers; None: the pings are durable.

        `seconds` counts the age of the batch for each ping that is durable: the wait of its first ping.
        """
        if outcome is None and seconds is not None:
            seconds.observe_times(SHARED_CLOCK.seconds_since((self.accepted_ms,))[0], len(self.pings))
        if self.renumbered:
            self._notify_renumbered(outcome)
            return
        for done in self.callbacks:
            done(outcome)

    def regroup(self, outcomes: Sequence[bytes], rest: "AppendBatch") -> None:
        """Answer the pings whose keys were used before, and move the others to a batch that is still to be
        appended.

        Args:
            outcomes: for each key: empty, `conflict`, or the id of the first ping with that key.
            rest: an empty batch.
        """
        rest.renumbered = True
        for (scope, (index, body)), outcome in zip((self.keyed or {}).items(), outcomes, strict=True):
            done = self.callbacks[index]
            if not outcome:
                rest.add_keyed(self.pings[index], self.sizes[index], done, IdempotencyKey(scope, body))
            elif outcome == _CONFLICT:
                done(IdempotencyConflict("this Idempotency-Key was used with a different body before"))
            else:
                done(Accepted(outcome.decode(), repeated=True))

    def split_off(self, number: int, first: "AppendBatch") -> Sequence[OnAppended]:
        """Move the first pings to a batch that is still to be appended, and return the callbacks of the others.

        Args:
            number: number of pings to move.
            first: an empty batch.
        """
        first.renumbered = True
        scopes = list((self.keyed or {}).items())
        size = self.size // len(self.pings)
        for index, (ping, done) in enumerate(zip(self.pings[:number], self.callbacks, strict=False)):
            if scopes:
                scope, (_, body) = scopes[index]
                first.add_keyed(ping, self.sizes[index], done, IdempotencyKey(scope, body))
            else:
                first.add(ping, size, done)
        return self.callbacks[number:]

    def _notify_renumbered(self, outcome: RhoPushError | None) -> None:
        for index, done in enumerate(self.callbacks):
            ping_id = self.id + PING_INDEXES[index]
            if outcome is None:
                done(Accepted(ping_id))
            elif isinstance(outcome, PossiblyAccepted):
                done(PossiblyAccepted(outcome.message, ping_id=ping_id))
            else:
                done(outcome)
