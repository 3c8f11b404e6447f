"""Assembly of the parts that need all users: the splitter of broadcasts and the explainer of pings."""

from gateway.delivery.cancelled import CancelledPings
from gateway.fanout.broadcast import BroadcastSplitter
from gateway.fanout.broadcast_targets import BroadcastTargets
from gateway.fanout.everybody import EverybodySplitter
from gateway.fanout.explain import PingExplainer
from gateway.fanout.in_flight import InFlight
from gateway.metrics import Metrics
from gateway.queue.everybody import EverybodyStore
from gateway.registry.examination import Examination
from gateway.registry.user_scan import UserScan
from gateway.store.connection import RedisConnection


class EverybodyParts:
    """Makes these parts of a worker.

    Args:
        stream_link: connection to the queue's Redis.
        look_ups: connection to the Redis that holds RhoConnect's users.
        receipt_s: lifetime of receipts.
        metrics: of the worker.
    """

    def __init__(
        self, stream_link: RedisConnection, look_ups: RedisConnection, receipt_s: int, metrics: Metrics
    ) -> None:
        self._store = EverybodyStore(stream_link, receipt_s)
        self._users = UserScan(look_ups)
        self._metrics = metrics

    def splitter(
        self, targets: BroadcastTargets, in_flight: InFlight, cancelled: CancelledPings
    ) -> BroadcastSplitter:
        """The splitter of broadcasts."""
        everybody = EverybodySplitter(self._store, self._users, in_flight, self._metrics, cancelled)
        return BroadcastSplitter(targets.store, in_flight, everybody, cancelled)

    def explainer(self, targets: BroadcastTargets, examination: Examination) -> PingExplainer:
        """The explainer of pings."""
        return PingExplainer(
            examination,
            targets.lane_manager,
            self._metrics,
            targets.scheduler,
            targets.addressing,
            self._users,
        )
