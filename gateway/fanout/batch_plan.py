"""The plan of one batch: the message of each app and the deliveries of each lane. No I/O."""

import msgspec

from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.provider import ProviderMessage
from gateway.delivery.route import LaneInterface, Route
from protocols.errors import InputError
from protocols.ping.model import Ping


class BatchPlan:
    """The plan of one delivery batch, filled ping by ping: the present ping's message for each route, and the
    deliveries of each lane."""

    __slots__ = ("_messages", "_node", "batch", "by_lane", "message", "now_ms", "ping", "route")

    def __init__(
        self, batch: DeliveryBatch, now_ms: int, by_lane: dict[LaneInterface, list[Delivery]]
    ) -> None:
        self.batch = batch
        self.now_ms = now_ms
        self.by_lane = by_lane
        self.ping = Ping()
        self.route: Route | None = None
        self.message: ProviderMessage | InputError | None = None
        self._messages: dict[Route, ProviderMessage | InputError | None] = {}
        self._node = 0

    def begin_ping(self, number: int, skipped: dict[str, int]) -> None:
        """Start the next ping of the batch; deliveries added from now on belong to it."""
        self.batch.begin_ping(skipped)
        self.ping = self.batch.pings[number]
        self._node = self.batch.node + self.batch.first_ping_index + number
        self.route = None
        if self._messages:
            self._messages = {}

    def select_route(self, route: Route) -> None:
        """Set `message` to the present ping's message for this route, encoded once; None if the ping has nothing
        for it."""
        if self.route is not None:
            self._messages[self.route] = self.message
        if route in self._messages:
            self.message = self._messages[route]
        else:
            try:
                self.message = route.lane.provider.compose(self.ping, route.target, self.now_ms)
            except InputError as error:
                self.message = error
        # Set last: if composing raises an unexpected error, the next device must not get another route's message.
        self.route = route

    def set_badge(self, number: int) -> None:
        """Give the present ping this badge for the devices that are planned from now on."""
        if self.ping.badge != number:
            self.ping = msgspec.structs.replace(self.ping, badge=number)
            self.route = None
            self._messages = {}

    def request_id(self, number: int) -> bytes:
        """A UUID that is the same for every attempt to deliver this ping to this device (providers A2, apns-id)."""
        return b"%b%012x" % (self.batch.prefix, number ^ self._node)
