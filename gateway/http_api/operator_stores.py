"""The stores that the routes of operators and the console read and change."""

from typing import NamedTuple

from gateway.delivery.lane_manager import LaneManager
from gateway.fanout.device_report import DeviceReports
from gateway.queue.lane_resets import LaneResets
from gateway.queue.overview import QueueOverview
from gateway.queue.quarantine import Quarantine
from gateway.queue.worker_reports import WorkerReports
from gateway.registry.dead_marks import DeadMarks
from gateway.registry.examination import Examination
from gateway.store.connection import RedisConnection


class OperatorStores(NamedTuple):
    """The stores of the routes of operators and of the console.

    Attributes:
        worker_reports: the reports of all workers of all gateways.
        lane_resets: the requests to close circuit breakers.
        queue: the numbers of the queue.
        quarantine: the records of unreadable entries.
        dead_marks: the marks of dead push tokens.
        device_reports: the devices of a user.
    """

    worker_reports: WorkerReports
    lane_resets: LaneResets
    queue: QueueOverview
    quarantine: Quarantine
    dead_marks: DeadMarks
    device_reports: DeviceReports


def operator_stores(
    queue: RedisConnection, main: RedisConnection, examination: Examination, lanes: LaneManager
) -> OperatorStores:
    """Return the stores.

    Args:
        queue: a connection to the queue's Redis.
        main: a connection to the Redis that holds RhoConnect's users.
        examination: reads devices.
        lanes: the lanes of this worker.
    """
    return OperatorStores(
        WorkerReports(queue),
        LaneResets(queue),
        QueueOverview(queue),
        Quarantine(queue),
        DeadMarks(main, lanes.device_types),
        DeviceReports(examination, lanes, main),
    )
