"""A ping that is submitted at once, and whose outcome is awaited."""

import asyncio

import pytest

from gateway.errors import QueueFull, RhoPushError
from gateway.queue.append_batch import Accepted, IdempotencyKey, OnAppended
from gateway.queue.ping_queue import PendingAppend
from protocols.ping.model import Ping


class Queue:
    """Keeps the callback of one ping."""

    def submit(self, ping: Ping, size: int, done: OnAppended, *, key: IdempotencyKey | None = None) -> str:
        """Keep the callback."""
        self.done = done
        return "the id"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(None, Accepted("the id")), (Accepted("another", repeated=True), Accepted("another", repeated=True))],
)
async def test_the_outcome_of_a_durable_ping_is_accepted(
    outcome: Accepted | None, expected: Accepted
) -> None:
    queue = Queue()
    pending = PendingAppend(queue, Ping(), 1)
    queue.done(outcome)
    assert await pending.outcome() == expected


async def test_an_error_is_returned_and_not_raised() -> None:
    queue = Queue()
    pending = PendingAppend(queue, Ping(), 1)
    error: RhoPushError = QueueFull("full")
    queue.done(error)
    assert await pending.outcome() is error


async def test_a_caller_that_is_cancelled_disturbs_nothing() -> None:
    queue = Queue()
    pending = PendingAppend(queue, Ping(), 1)
    waiting = asyncio.create_task(pending.outcome())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    queue.done(None)
    assert pending.ping_id == "the id"
