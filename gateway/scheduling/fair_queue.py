"""Bounded queue that serves its callers in turn, independently of how many items each of them has."""

from collections import OrderedDict, deque
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

CALLERS_IN_ORDER: Final = 16
"""With more waiting callers than this, the newest caller and the next in order are served alternately (see
`FairQueue`)."""


class FairQueue(Generic[Item]):
    """Queue that serves one item of each caller in turn, and the items of one caller in order of arrival.

    - At the bound, the caller with the most items loses its newest item to a caller with fewer.
    - While many callers wait, the newest caller that was not served yet and the next one in order are served
      alternately, and at the bound the next one in order loses an item. A large number of callers that arrive together
      therefore delays neither later callers nor earlier ones; most of them would wait too long in any order.

    Each operation takes constant time.

    Args:
        items_max: most items in the queue.
        in_order: most waiting callers that are served strictly in order.
    """

    def __init__(self, items_max: int, in_order: int = CALLERS_IN_ORDER) -> None:
        self._items_max = items_max
        self._in_order = in_order
        self._callers: OrderedDict[str, deque[Item]] = OrderedDict()  # the next caller first
        self._unserved: OrderedDict[str, None] = OrderedDict()  # callers not served yet, the newest last
        self._by_length: dict[int, dict[str, None]] = {}  # length -> the callers with this many items
        self._longest = 0
        self._length = 0
        self._newest_next = False

    def __len__(self) -> int:
        return self._length

    def put(self, caller: str, item: Item) -> Item | None:
        """Add an item; return the item that does not fit, this one or another caller's. None: all fit."""
        items = self._callers.get(caller)
        length = 0 if items is None else len(items)
        refused: Item | None = None
        if self._length >= self._items_max:
            other = self._caller_to_evict(length)
            if other is None:
                return item
            refused = self._evict(other)
        if items is None:
            items = self._callers[caller] = deque()
            self._unserved[caller] = None
        items.append(item)
        self._length += 1
        self._resized(caller, length, length + 1)
        return refused

    def take(self) -> Item:
        """Remove and return the next item. The queue must not be empty."""
        self._newest_next = self._is_crowded and not self._newest_next
        unserved = self._unserved if self._newest_next else None
        caller = next(reversed(unserved)) if unserved else next(iter(self._callers))
        items = self._callers[caller]
        item = items.popleft()
        self._unserved.pop(caller, None)
        self._callers.move_to_end(caller)
        self._shortened(caller, len(items))
        return item

    def take_all(self, caller: str) -> list[Item]:
        """Remove and return all items of one caller."""
        items = self._callers.pop(caller, None)
        if items is None:
            return []
        self._unserved.pop(caller, None)
        self._length -= len(items)
        self._resized(caller, len(items), 0)
        return list(items)

    @property
    def _is_crowded(self) -> bool:
        return len(self._callers) > self._in_order

    def _caller_to_evict(self, length: int) -> str | None:
        """The caller that loses an item to a caller with `length` items; None: no caller."""
        if length + 1 < self._longest:
            return next(iter(self._by_length[self._longest]))
        if length == 0 and self._is_crowded:
            return next(iter(self._callers))
        return None

    def _evict(self, caller: str) -> Item:
        items = self._callers[caller]
        item = items.pop()
        self._shortened(caller, len(items))
        return item

    def _shortened(self, caller: str, length: int) -> None:
        self._length -= 1
        self._resized(caller, length + 1, length)
        if not length:
            del self._callers[caller]
            self._unserved.pop(caller, None)

    def _resized(self, caller: str, before: int, after: int) -> None:
        if before:
            same = self._by_length[before]
            del same[caller]
            if not same:
                del self._by_length[before]
        if after:
            self._by_length.setdefault(after, {})[caller] = None
        self._longest = max(self._longest, after)
        while self._longest and self._longest not in self._by_length:
            self._longest -= 1
