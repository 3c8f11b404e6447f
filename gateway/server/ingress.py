"""The background ingresses: change events and Resque queues. One worker of a gateway runs them."""

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
    """The background ingresses of this worker, if any."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.events: Coalescer | None = None
        self.resque: ResqueWorker | None = None

    async def open(self, settings: Settings, gateway_id: str, queue: QueueProducer, metrics: Metrics) -> None:
        """Start them. Raises StoreDown, BadSetting."""
        self.events = await self._stack.enter_async_context(open_change_events(settings, gateway_id, metrics))
        self.resque = await self._stack.enter_async_context(open_resque(settings, gateway_id, queue, metrics))

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings."""
        if self.events is not None:
            self.events.apply_settings(settings)
        if self.resque is not None:
            self.resque.users_max = settings.limits.users_per_ping

    async def close(self) -> None:
        """Stop accepting work; work in progress is finished or stays in Redis."""
        await self._stack.aclose()


@asynccontextmanager
async def open_background_ingress(
    settings: Settings, gateway_id: str, slot: int, queue: QueueProducer, metrics: Metrics
) -> AsyncIterator[BackgroundIngress]:
    """Run the background ingresses of this worker until `close` or the end of the context.

    Raises:
        StoreDown: Redis cannot be reached.
        BadSetting: an address is invalid.
    """
    async with AsyncExitStack() as stack:
        made = BackgroundIngress(stack)
        if slot == INGRESS_SLOT:
            await made.open(settings, gateway_id, queue, metrics)
        yield made
