"""The bytes of request bodies that one process holds, counted against `limits.bodies_bytes`.

Memory stays flat whatever callers send: a request that does not fit is answered with 503 and Retry-After before its
body is read. Callers whose API token is not known to be valid share a quarter of the budget, so that they cannot
keep out the others. Bodies of up to `SMALL_BYTES` are not counted: the ceiling of connections bounds them.
"""

from typing import Final

from gateway.errors import BodiesFull

SMALL_BYTES: Final = 8_192
"""As much as a request's head may have, which is not counted either."""
_UNJUDGED_SHARE: Final = 4


class BodyBudget:
    """The budget of one process.

    Args:
        limit: bytes (`limits.bodies_bytes`); it may change while bodies are held.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._unjudged = 0

    def most(self, *, judged: bool) -> int:
        """The longest body that could ever fit."""
        return max(self.limit if judged else self.limit // _UNJUDGED_SHARE, SMALL_BYTES)

    def take(self, count: int, *, judged: bool) -> bool:
        """Count so many bytes; False: they do not fit."""
        if self.held + count > self.limit:
            return False
        if not judged:
            if self._unjudged + count > self.limit // _UNJUDGED_SHARE:
                return False
            self._unjudged += count
        self.held += count
        return True

    def give(self, count: int, *, judged: bool) -> None:
        """Count them no longer."""
        self.held -= count
        if not judged:
            self._unjudged -= count


class Holding:
    """What one request holds of the budget. `release` may be called more than once.

    Args:
        budget: of the process.

    Attributes:
        judged: whether the caller's API token is known to be valid.
    """

    __slots__ = ("_budget", "_count", "judged")

    def __init__(self, budget: BodyBudget, *, judged: bool = False) -> None:
        self._budget = budget
        self._count = 0
        self.judged = judged

    def grow(self, total: int) -> None:
        """Hold `total` bytes from now on, unless as many are held already.

        Raises:
            BodiesFull: they do not fit.
        """
        if not self.fits(total):
            raise BodiesFull("too many bytes of request bodies are held: limits.bodies_bytes")

    def fits(self, total: int) -> bool:
        """`grow`, with an answer instead of an error."""
        if total <= max(SMALL_BYTES, self._count):
            return True
        if not self._budget.take(total - self._count, judged=self.judged):
            return False
        self._count = total
        return True

    def promote(self) -> None:
        """The caller's token was found to be valid. What is held already counts as before: it may not fit anew."""
        if not self.judged:
            self._budget.give(self._count, judged=False)
            self.judged = True
            self._count = self._count if self._budget.take(self._count, judged=True) else 0

    def release(self) -> None:
        """Hold nothing."""
        count, self._count = self._count, 0
        self._budget.give(count, judged=self.judged)
