"""The background ingresses: change events and Resque queues. One worker of a gateway runs them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.change_events import Coalescer, open_change_events
from gateway.metrics import Metrics
from gateway.queue.producer import QueueProducer
from gateway.resque import ResqueWorker, open_resque
from gateway.settings import Settings

INGRESS_SLOT = 0
"""The worker that runs them; the supervisor restarts it after a failure."""


class BackgroundIngress:
    """The background ingresses of this worker, if any.

    Args:
        events_stack, resque_stack: close the parts of one ingress each.
    """

    def __init__(self, events_stack: AsyncExitStack, resque_stack: AsyncExitStack) -> None:
        self._events_stack, self._resque_stack = events_stack, resque_stack
        self.events: Coalescer | None = None
        self.resque: ResqueWorker | None = None

    async def open(self, settings: Settings, gateway_id: str, queue: QueueProducer, metrics: Metrics) -> None:
        """Start them. Raises StoreDown, BadSetting."""
        self.events = await self._events_stack.enter_async_context(
            open_change_events(settings, gateway_id, metrics)
        )
        self.resque = await self._resque_stack.enter_async_context(
            open_resque(settings, gateway_id, queue, metrics)
        )

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings."""
        if self.events is not None:
            self.events.apply_settings(settings)
        if self.resque is not None:
            self.resque.users_max = settings.limits.users_per_ping

    async def close(self, budget_s: float) -> None:
        """Stop accepting work; work in progress is finished within the budget, or stays in Redis.

        The ingresses are closed at the same time, since each may have a Redis of its own that does not answer.
        """
        await asyncio.gather(*(_close(stack, budget_s) for stack in (self._events_stack, self._resque_stack)))


@asynccontextmanager
async def open_background_ingress(
    settings: Settings, gateway_id: str, slot: int, queue: QueueProducer, metrics: Metrics
) -> AsyncIterator[BackgroundIngress]:
    """Run the background ingresses of this worker until `close` or the end of the context.

    Raises:
        StoreDown: Redis cannot be reached.
        BadSetting: an address is invalid.
    """
    async with AsyncExitStack() as events_stack, AsyncExitStack() as resque_stack:
        made = BackgroundIngress(events_stack, resque_stack)
        if slot == INGRESS_SLOT:
            await made.open(settings, gateway_id, queue, metrics)
        yield made


async def _close(stack: AsyncExitStack, budget_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(budget_s):
            await stack.aclose()
