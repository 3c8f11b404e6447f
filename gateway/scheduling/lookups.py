"""Batched look-ups for untrusted callers: one round trip for hundreds, and fair between callers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import structlog

from gateway.errors import AuthenticationBusy, RhoPushError, UnexpectedFailure
from gateway.scheduling.fair_queue import FairQueue
from gateway.scheduling.outcome import outcome_of

_log = structlog.get_logger("lookups")

Found = TypeVar("Found")

BATCH_MAX: Final = 512
WAITING_MAX: Final = 4_096
_SLICE: Final = 32
"""Results in one event loop iteration: each wakes a request, and pings must not wait for all of them."""
_BUSY: Final = "too many credentials wait to be checked"


class _Failure(NamedTuple):
    """The reason of a failed look-up. Each waiting caller raises an exception of its own.

    A single exception raised by all callers would collect the frames of all of them in its traceback.
    """

    kind: type[RhoPushError]
    message: str
    cause: BaseException | None = None


def _failure_of(error: BaseException) -> _Failure:
    if isinstance(error, RhoPushError):
        return _Failure(type(error), error.message, error.__cause__)
    _log.error("lookup_failed", exc_info=error)
    return _Failure(UnexpectedFailure, "the look-up failed unexpectedly", error)


class _PendingLookup(NamedTuple, Generic[Found]):
    name: str
    outcome: asyncio.Future[Found | _Failure]


class Lookups(Generic[Found]):
    """Looks up names in batches, one batch at a time.

    Args:
        ask: looks up many names; returns the results in the same order.
        waiting_max: most names that may wait for their batch.
        batch_max: most names in one batch.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[str]], Awaitable[Sequence[Found]]],
        *,
        waiting_max: int = WAITING_MAX,
        batch_max: int = BATCH_MAX,
    ) -> None:
        self._ask = ask
        self._batch_max = batch_max
        self._queue: FairQueue[_PendingLookup[Found]] = FairQueue(waiting_max)
        self._under_way: dict[str, asyncio.Future[Found | _Failure]] = {}
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, name: str, caller: str) -> Found:
        """Look up a name. Callers that ask for the same name share one look-up.

        Args:
            name: the name to look up.
            caller: the caller of the look-up; callers are served in turn.

        Raises:
            AuthenticationBusy: too many names wait.
            StoreDown: Redis does not answer.
            UnexpectedFailure: the look-up failed in another way, which is logged.
        """
        under_way = self._under_way.get(name)
        if under_way is None:
            under_way = self._begin(name, caller)
        # Shielded: the first caller may be cancelled while others wait for the same result.
        outcome = await asyncio.shield(under_way)
        if isinstance(outcome, _Failure):
            raise outcome.kind(outcome.message) from outcome.cause
        return outcome

    async def close(self) -> None:
        """Stop the look-ups; waiting callers are cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self, name: str, caller: str) -> asyncio.Future[Found | _Failure]:
        future: asyncio.Future[Found | _Failure] = asyncio.get_running_loop().create_future()
        self._under_way[name] = future
        refused = self._queue.put(caller, _PendingLookup(name, future))
        if refused is not None:
            self._resolve(refused, _Failure(AuthenticationBusy, _BUSY))
        if self._task is None and self._queue:
            self._task = asyncio.create_task(self._work(), name="credential look-ups")
        return future

    async def _work(self) -> None:
        batch: list[_PendingLookup[Found]] = []
        try:
            while self._queue:
                batch = [self._queue.take() for _ in range(min(len(self._queue), self._batch_max))]
                await self._look_up(batch)
        finally:  # also if the loop ends during a look-up, so that no caller waits forever
            self._task = None
            for waiting in (*batch, *self._drained()):
                waiting.outcome.cancel()
                self._forget(waiting)

    async def _look_up(self, batch: Sequence[_PendingLookup[Found]]) -> None:
        found = await outcome_of(self._results(batch))
        if isinstance(found, BaseException):
            failure = _failure_of(found)
            # The same for the waiting names: each of them would otherwise wait for the time-out of an unresponsive
            # Redis.
            for waiting in (*batch, *self._drained()):
                self._resolve(waiting, failure)
            return
        for at, (waiting, one) in enumerate(found, 1):
            self._resolve(waiting, one)
            if at % _SLICE == 0:
                await asyncio.sleep(0)

    async def _results(
        self, batch: Sequence[_PendingLookup[Found]]
    ) -> Sequence[tuple[_PendingLookup[Found], Found]]:
        """Each look-up with its result."""
        found = await self._ask([waiting.name for waiting in batch])
        return list(zip(batch, found, strict=True))

    def _drained(self) -> list[_PendingLookup[Found]]:
        return [self._queue.take() for _ in range(len(self._queue))]

    def _resolve(self, waiting: _PendingLookup[Found], outcome: Found | _Failure) -> None:
        self._forget(waiting)
        if not waiting.outcome.done():
            waiting.outcome.set_result(outcome)

    def _forget(self, waiting: _PendingLookup[Found]) -> None:
        if self._under_way.get(waiting.name) is waiting.outcome:
            del self._under_way[waiting.name]
