"""What a worker remembers of users' devices, and when it stops believing it.

An entry holds from the instant at which its question was sent: `life_s` long, and not beyond a change of one of
its keys. Changes are kept by name and instant, instead of looking for the entries that they touch: so nothing has
to know whose a client is, and an answer that was on its way while its user changed is as stale as it should be.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gateway.registry.user_devices import UserDevices

TTL_S: Final = 60.0
"""Whatever happens, nothing is believed for longer."""
USERS_MAX: Final = 100_000
"""Users remembered: 1.1 KB each with one device a user, so 110 MB a worker that pings as many within a life."""
_DROPPED_MAX: Final = 4
"""Entries that may go for one that comes: more than one, so that the cache shrinks again after a busy minute."""
CHANGES_MAX: Final = 100_000
"""Names that changed within a life; after more, everything is read anew, which costs less than keeping them."""
_NEVER: Final = float("-inf")


class DeviceCache:
    """Registrations by user, in the order in which they were read: the first is the first to end.

    Args:
        life_s: how long an entry is believed at most.
        users_max: how many are kept; 0: none.
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
        self._invalid_before_s = _NEVER  # all that was read until then is void
        self.enabled = False
        """Whether changes are being heard of; without that nothing is kept."""

    def __len__(self) -> int:
        return len(self._users)

    def get(self, users: Iterable[str]) -> list[UserDevices | None]:
        """What may be believed of these users; None: to be read."""
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
        """Remember what was read of these users, where there is room; the question was sent at its `read_s`.

        Nobody who may still be believed has to go for another. When many more users are pinged than there is room
        for, it makes no difference to the hits who is remembered, and letting one go for each that comes took 4.6
        instead of 3.6 µs a user (reading, keeping and choosing in a loop, 100,000 remembered).
        """
        kept = self._users
        self._drop(_DROPPED_MAX * len(users))
        for user, registration in zip(users, read, strict=True):
            if user in kept:
                del kept[user]  # it goes to the end
            if len(kept) < self._users_max and self.enabled and registration.is_tracked:
                kept[user] = registration

    def invalidate(self, names: Iterable[str]) -> None:
        """These users or clients are not what they were."""
        now = self._tracked_since_s = self._clock()
        if now >= self._changes_turn_s:
            self._changed_before, self._changed = self._changed, {}
            self._changes_turn_s = now + self._life_s
        for name in names:
            self._changed[name] = now
        if len(self._changed) > CHANGES_MAX:
            self.clear()

    def changed_since(self, since_s: float, names: Iterable[str]) -> bool:
        """Whether a change of one of these users or clients was heard of since then, or all is void.

        Changes are remembered for `life_s` at least.
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
        """Believe nothing any more, nor what is being read."""
        self._invalid_before_s = self._tracked_since_s = self._clock()
        for names in (self._users, self._changed, self._changed_before):
            names.clear()

    def _drop(self, most: int) -> None:
        """Let entries go that are over: the oldest, so many at most."""
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
