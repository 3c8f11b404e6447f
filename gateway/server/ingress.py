"""The doors that nobody calls: data changes and Resque's queues. One worker of a gateway has them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.change_events import Listening, open_events
from gateway.metrics import Metrics
from gateway.queue.producer import Queue
from gateway.resque import ResqueWorker, open_resque
from gateway.settings import Settings

SLOT = 0
"""The worker that has them; when it falls, the supervisor starts it again."""


class Background:
    """What works without being called; perhaps nothing."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.events: Listening | None = None
        self.resque: ResqueWorker | None = None

    async def open(self, settings: Settings, gateway_id: str, queue: Queue, metrics: Metrics) -> None:
        """Begin. Raises StoreDown, BadSetting."""
        self.events = await self._stack.enter_async_context(open_events(settings, gateway_id, metrics))
        self.resque = await self._stack.enter_async_context(open_resque(settings, gateway_id, queue, metrics))

    def renew(self, settings: Settings) -> None:
        """Take over settings that were read anew."""
        if self.events is not None:
            self.events.renew(settings)
        if self.resque is not None:
            self.resque.users_max = settings.limits.users_per_ping

    async def close(self) -> None:
        """Take nothing new; what was begun is finished or kept."""
        await self._stack.aclose()


@asynccontextmanager
async def background(
    settings: Settings, gateway_id: str, slot: int, queue: Queue, metrics: Metrics
) -> AsyncIterator[Background]:
    """The doors of this worker that nobody calls, open until `close` or the end of the block.

    Raises:
        StoreDown: Redis cannot be reached.
        BadSetting: an address is none.
    """
    async with AsyncExitStack() as stack:
        made = Background(stack)
        if slot == SLOT:
            await made.open(settings, gateway_id, queue, metrics)
        yield made
