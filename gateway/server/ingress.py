"""The doors that nobody calls: data changes and Resque's queues. One worker of a gateway has them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.change_events import Coalescer, open_change_events
from gateway.metrics import Metrics
from gateway.queue.producer import QueueProducer
from gateway.resque import ResqueWorker, open_resque
from gateway.settings import Settings

INGRESS_SLOT = 0
"""The worker that has them; when it falls, the supervisor starts it again."""


class BackgroundIngress:
    """What works without being called; perhaps nothing."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.events: Coalescer | None = None
        self.resque: ResqueWorker | None = None

    async def open(self, settings: Settings, gateway_id: str, queue: QueueProducer, metrics: Metrics) -> None:
        """Begin. Raises StoreDown, BadSetting."""
        self.events = await self._stack.enter_async_context(open_change_events(settings, gateway_id, metrics))
        self.resque = await self._stack.enter_async_context(open_resque(settings, gateway_id, queue, metrics))

    def apply_settings(self, settings: Settings) -> None:
        """Take over settings that were read anew."""
        if self.events is not None:
            self.events.apply_settings(settings)
        if self.resque is not None:
            self.resque.users_max = settings.limits.users_per_ping

    async def close(self) -> None:
        """Take nothing new; what was begun is finished or kept."""
        await self._stack.aclose()


@asynccontextmanager
async def open_background_ingress(
    settings: Settings, gateway_id: str, slot: int, queue: QueueProducer, metrics: Metrics
) -> AsyncIterator[BackgroundIngress]:
    """The doors of this worker that nobody calls, open until `close` or the end of the block.

    Raises:
        StoreDown: Redis cannot be reached.
        BadSetting: an address is none.
    """
    async with AsyncExitStack() as stack:
        made = BackgroundIngress(stack)
        if slot == INGRESS_SLOT:
            await made.open(settings, gateway_id, queue, metrics)
        yield made
