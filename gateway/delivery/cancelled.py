"""The pings that are cancelled, shared by the lanes and the fan-out of a worker. No I/O.

`gateway.fanout.cancellation_watch` keeps the ids up to date. While no ping is cancelled there are none, and lanes and
planner test nothing but that.
"""

from collections.abc import Sequence
from typing import Final

from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.metrics import Metrics
from gateway.queue.receipts import CANCELLED

_NONE: Final[frozenset[str]] = frozenset()


class CancelledPings:
    """The cancelled pings that may still have deliveries to come.

    Args:
        metrics: counts the devices that they leave out.

    Attributes:
        ids: their ids. The value is replaced, never changed.
    """

    __slots__ = ("_metrics", "ids")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.ids = _NONE

    def has(self, delivery: Delivery) -> bool:
        """Whether a delivery belongs to one of them."""
        batch = delivery.batch
        return batch.pings[batch.ping_of(delivery.index)].id in self.ids

    def end_own(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Give the deliveries of cancelled pings their final verdict, and return the others."""
        others: list[Delivery] = []
        for delivery in deliveries:
            if self.has(delivery):
                delivery.batch.reject(delivery.index, CANCELLED)
            else:
                others.append(delivery)
        self.count(len(deliveries) - len(others))
        return others

    def end_postponed(self, batch: DeliveryBatch) -> None:
        """Give the retries of cancelled pings their final verdict: before a batch is settled, they are not
        scheduled."""
        own = [index for index in batch.postponed if batch.pings[batch.ping_of(index)].id in self.ids]
        for index in own:
            batch.end_postponed(index, CANCELLED)
        self.count(len(own))

    def count(self, number: int) -> None:
        """Count devices, or users whose devices are not looked up, that cancelled pings leave out."""
        if number:
            self._metrics.devices_skipped(CANCELLED).inc(number)
