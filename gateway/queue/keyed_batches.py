"""The batches of pings with Idempotency-Keys that wait for a commit, in the order in which Redis must get them.

The batches of a commit are sent together. If a batch has a key that was used before, Redis writes none of its pings,
and the producer appends the others after the batches behind it. A ping with the key of another ping in the same commit
therefore waits for a later commit, so that the first of them gets the key.
"""

from collections.abc import Callable

from gateway.queue.append_batch import AppendBatch, IdempotencyKey


class KeyedBatches:
    """The batches of one producer's pings with Idempotency-Keys.

    Args:
        make: makes an empty batch for the pings that are submitted at present.
    """

    __slots__ = ("_closed", "_later", "_make", "_open", "_scopes")

    def __init__(self, make: Callable[[], AppendBatch]) -> None:
        self._make = make
        self._open: AppendBatch | None = None
        self._closed: list[AppendBatch] = []
        self._scopes: set[bytes] = set()
        """The keys of `_closed`, which are sent with `_open` in the next commit."""
        self._later: list[AppendBatch] = []
        """The batches of the commits after that, one each."""

    @property
    def waiting(self) -> bool:
        """Whether there are batches."""
        return self._open is not None or bool(self._closed or self._later)

    def batch_of(self, key: IdempotencyKey, due_ms: int = 0) -> AppendBatch:
        """The batch for a ping with this key.

        Args:
            key: the key.
            due_ms: the instant of the ping, as of the batches that `make` makes at present.
        """
        batch = self._open
        if batch is not None and batch.due_ms != due_ms:
            self.close(batch)
            batch = None
        if not self._later and key.scope not in self._scopes:
            if batch is None:
                batch = self._open = self._make()
            if batch.admits(key):
                return batch
        return self._in_order(key, due_ms)

    def close(self, batch: AppendBatch) -> bool:
        """Close the batch to further pings if it is the open one; returns whether it was."""
        if batch is not self._open:
            return False
        self._open = None
        self._closed.append(batch)
        self._scopes.update(batch.keyed or ())
        return True

    def take(self) -> list[AppendBatch]:
        """Remove and return the batches of the next commit."""
        batches = self._closed if self._open is None else [*self._closed, self._open]
        self._closed, self._scopes = [], set()
        self._open = self._later.pop(0) if self._later else None
        if self._open is not None and self._open.full:
            self.close(self._open)
        return batches

    def _in_order(self, key: IdempotencyKey, due_ms: int) -> AppendBatch:
        """The batch for a ping: one behind all batches with its key, or the last of these if the body is the same."""
        chain = [self._open, *self._later]
        first, last = int(key.scope in self._scopes), None
        for number, batch in enumerate(chain, 1):
            if batch is not None and batch.has(key.scope):
                first, last = number, batch
        if last is not None and last.admits(key):
            return last
        if not first and self._open is None:
            self._open = self._make()
            return self._open
        for batch in chain[first:]:
            if batch is not None and not batch.full and batch.due_ms == due_ms:
                return batch
        self._later.append(self._make())
        return self._later[-1]
