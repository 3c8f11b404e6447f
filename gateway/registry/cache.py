"""Cache of users' devices in a worker, and its expiry rules.

An entry is valid from the time at which its request was sent, for `life_s`, and no longer than until a change of
one of its keys. Changes are stored by name and time, instead of searching the entries that they affect. Therefore
no index from clients to users is needed, and a reply that was in transit during a change is stale as well.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gateway.registry.user_devices import UserDevices

TTL_S: Final = 60.0
"""Longest validity of an entry under all circumstances."""
USERS_MAX: Final = 100_000
"""Cached users: 1.1 KB each with one device a user, so 110 MB in a worker that pings this many within the
validity."""
_DROPPED_MAX: Final = 4
"""Most entries dropped for a new one: more than one, so that the cache shrinks again after a busy minute."""
CHANGES_MAX: Final = 100_000
"""Names that changed within the validity; after more changes the cache is cleared, which costs less than storing
them."""
_NEVER: Final = float("-inf")


class DeviceCache:
    """The devices of users, in the order in which they were read, so that the first entry expires first.

    Args:
        life_s: longest validity of an entry.
        users_max: most cached users; 0: none.
        clock: monotonic seconds, those of `UserDevices.read_s`.
    """

    def __init__(
        self,
        *,
        life_s: float = TTL_S,
        users_max: int = USERS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._life_s = life_s
        self._users_max = users_max
        self._clock = clock
        self._users: OrderedDict[str, UserDevices] = OrderedDict()
        self._changed: dict[str, float] = {}
        self._changed_before: dict[str, float] = {}
        self._changes_turn_s = clock() + life_s
        self._tracked_since_s = _NEVER  # the newest change
        self._invalid_before_s = _NEVER  # entries read until then are invalid
        self.enabled = False
        """Whether invalidations are being received; without them no entry is cached."""

    def __len__(self) -> int:
        return len(self._users)

    def get(self, users: Iterable[str]) -> list[UserDevices | None]:
        """The valid entries of these users; None: must be read."""
        oldest = self._clock() - self._life_s
        sure = max(oldest, self._tracked_since_s)
        get = self._users.get
        found: list[UserDevices | None] = []
        for user in users:
            known = get(user)
            if known is not None and known.read_s <= sure:
                known = self._still_valid(user, known, oldest)
            found.append(known)
        return found

    def put(self, users: Sequence[str], read: Sequence[UserDevices]) -> None:
        """Cache the devices that were read for these users, if there is room; the request was sent at their
        `read_s`.

        A valid entry is never replaced by another user's. If many more users are pinged than there is room for,
        the choice of the cached users does not affect the hit rate, and dropping an entry for each new one took
        4.6 instead of 3.6 µs a user (reading, keeping and choosing in a loop, 100,000 remembered).
        """
        kept = self._users
        self._drop(_DROPPED_MAX * len(users))
        for user, registration in zip(users, read, strict=True):
            if user in kept:
                del kept[user]  # moves the entry to the end
            if len(kept) < self._users_max and self.enabled and registration.is_tracked:
                kept[user] = registration

    def invalidate(self, names: Iterable[str]) -> None:
        """Invalidate entries that depend on these users or clients."""
        now = self._tracked_since_s = self._clock()
        if now >= self._changes_turn_s:
            self._changed_before, self._changed = self._changed, {}
            self._changes_turn_s = now + self._life_s
        for name in names:
            self._changed[name] = now
        if len(self._changed) > CHANGES_MAX:
            self.clear()

    def changed_since(self, since_s: float, names: Iterable[str]) -> bool:
        """Whether a change of one of these users or clients, or of everything, was received since that time.

        Changes are stored for at least `life_s`.
        """
        if since_s > self._tracked_since_s:
            return False
        if since_s <= self._invalid_before_s:
            return True
        some = tuple(names)
        for changes in (self._changed, self._changed_before):
            if changes.keys().isdisjoint(some):
                continue
            if any(changes.get(name, _NEVER) >= since_s for name in some):
                return True
        return False

    def clear(self) -> None:
        """Invalidate all entries, including those that are being read."""
        self._invalid_before_s = self._tracked_since_s = self._clock()
        for names in (self._users, self._changed, self._changed_before):
            names.clear()

    def _drop(self, most: int) -> None:
        """Drop expired entries: the oldest, at most this many."""
        users, oldest = self._users, self._clock() - self._life_s
        for _ in range(most):
            if not users or next(iter(users.values())).read_s > oldest:
                break
            users.popitem(last=False)

    def _still_valid(self, user: str, known: UserDevices, oldest: float) -> UserDevices | None:
        if known.read_s > oldest and not self.changed_since(known.read_s, known.depends_on(user)):
            return known
        del self._users[user]
        return None
