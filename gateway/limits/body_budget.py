"""Budget for the bytes of request bodies that one process holds (`limits.bodies_bytes`).

The budget bounds the memory that callers can use: a request that does not fit is answered with 503 and Retry-After
before its body is read. Callers whose API token is not known to be valid share a quarter of the budget, so that they
cannot exclude other callers. Bodies of up to `SMALL_BYTES` are not counted: the limit of connections bounds them.
"""

from typing import Final

from gateway.errors import BodiesFull

SMALL_BYTES: Final = 8_192
"""Length in bytes up to which a body is not counted, like the head of a request."""
_UNAUTHENTICATED_SHARE: Final = 4


class BodyBudget:
    """Budget of one process for request bodies.

    Args:
        limit: bytes (`limits.bodies_bytes`); it may change while bodies are held.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reserved = 0
        self._unauthenticated = 0

    def max_body(self, *, authenticated: bool) -> int:
        """The length of the longest body that the budget can hold."""
        return max(self.limit if authenticated else self.limit // _UNAUTHENTICATED_SHARE, SMALL_BYTES)

    def reserve(self, count: int, *, authenticated: bool) -> bool:
        """Reserve `count` bytes; False: they do not fit."""
        if self.reserved + count > self.limit:
            return False
        if not authenticated:
            if self._unauthenticated + count > self.limit // _UNAUTHENTICATED_SHARE:
                return False
            self._unauthenticated += count
        self.reserved += count
        return True

    def give_back(self, count: int, *, authenticated: bool) -> None:
        """Release reserved bytes."""
        self.reserved -= count
        if not authenticated:
            self._unauthenticated -= count


class BodyReservation:
    """The share of the budget that one request holds. `release` may be called more than once.

    Args:
        budget: the budget of the process.

    Attributes:
        authenticated: whether the caller's API token is known to be valid.
    """

    __slots__ = ("_budget", "_count", "authenticated")

    def __init__(self, budget: BodyBudget, *, authenticated: bool = False) -> None:
        self._budget = budget
        self._count = 0
        self.authenticated = authenticated

    def reserve(self, total: int) -> None:
        """Hold `total` bytes from now on, unless as many are held already.

        Raises:
            BodiesFull: they do not fit.
        """
        if not self.try_reserve(total):
            raise BodiesFull("the request bodies in this process have reached limits.bodies_bytes")

    def try_reserve(self, total: int) -> bool:
        """Call `reserve`; False instead of an error."""
        if total <= max(SMALL_BYTES, self._count):
            return True
        if not self._budget.reserve(total - self._count, authenticated=self.authenticated):
            return False
        self._count = total
        return True

    def mark_authenticated(self) -> None:
        """Record that the caller's token is valid. Bytes that are held already stay in their share of the budget,
        since they may not fit into the other."""
        if not self.authenticated:
            self._budget.give_back(self._count, authenticated=False)
            self.authenticated = True
            self._count = self._count if self._budget.reserve(self._count, authenticated=True) else 0

    def release(self) -> None:
        """Release all bytes."""
        count, self._count = self._count, 0
        self._budget.give_back(count, authenticated=self.authenticated)
