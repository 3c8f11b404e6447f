"""The parts of Redis that the routes of operators and the console read and change."""

from typing import NamedTuple

from gateway.queue.lane_resets import LaneResets
from gateway.queue.worker_reports import WorkerReports
from gateway.store.connection import RedisConnection


class OperatorStores(NamedTuple):
    """The stores of the routes of operators and of the console.

    Attributes:
        worker_reports: the reports of all workers of all gateways.
        lane_resets: the requests to close circuit breakers.
    """

    worker_reports: WorkerReports
    lane_resets: LaneResets


def operator_stores(queue: RedisConnection) -> OperatorStores:
    """Return the stores.

    Args:
        queue: a connection to the queue's Redis.
    """
    return OperatorStores(WorkerReports(queue), LaneResets(queue))
