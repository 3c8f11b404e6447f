"""The plan of one device: the delivery that a ping means for it, or the reason why there is none.

`gateway.fanout.planner` plans with it what is sent, and `gateway.fanout.explain` what would be sent.
"""

from typing import Final

import structlog

from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.reasons import reason_label
from gateway.fanout.batch_plan import BatchPlan
from gateway.fanout.recipients import INTERNAL_ERROR, INTERNAL_ERRORS, Recipient
from gateway.metrics import Metrics
from protocols.errors import InputError, NothingToSend

_log = structlog.get_logger("planner")

NOTHING_TO_SEND: Final = NothingToSend.label


class DevicePlanner:
    """Plans devices one by one.

    Args:
        metrics: counts the deliveries that are rejected before a lane has them.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def plan_device(
        self, plan: BatchPlan, recipient_device: Recipient, skipped: dict[str, int] | None
    ) -> None:
        """Add one send, or say why there is none. `skipped` is None where the device has its place already."""
        batch = plan.batch
        index = len(batch.states)
        try:
            self._plan_send(plan, recipient_device, skipped)
        except INTERNAL_ERRORS:
            # A ping or a setting that we cannot cope with must not stop those that were read with it.
            _log.exception(
                "device_planning_failed", ping_id=plan.ping.id, client=recipient_device.device.client_id
            )
            if index == len(batch.states):
                batch.add_delivery(recipient_device.device.client_id, recipient_device.platform)
            self._reject(batch, index, recipient_device.platform, INTERNAL_ERROR)

    def _plan_send(
        self, plan: BatchPlan, recipient_device: Recipient, skipped: dict[str, int] | None
    ) -> None:
        batch, route, device = plan.batch, recipient_device.route, recipient_device.device
        if isinstance(route, str):
            self._reject(
                batch,
                batch.add_delivery(device.client_id, recipient_device.platform),
                recipient_device.platform,
                route,
            )
            return
        if plan.route is not route:
            plan.select_route(route)
        message = plan.message
        if message is None and skipped is not None:
            skipped[NOTHING_TO_SEND] = skipped.get(NOTHING_TO_SEND, 0) + 1
            return
        index = batch.add_delivery(device.client_id, recipient_device.platform)
        try:
            if message is None or isinstance(message, InputError):
                raise message or NothingToSend("the ping holds nothing for this platform any more")
            path = recipient_device.path or message.path(device.pin)
        except InputError as error:
            self._reject(batch, index, recipient_device.platform, error.label)
            return
        recipient_device.path = path
        lane = route.lane
        request_id = plan.request_id(recipient_device.number) if lane.provider.request_id_header else b""
        plan.by_lane[lane].append(Delivery(batch, index, device, route, message, path, request_id))

    def _reject(self, batch: DeliveryBatch, index: int, provider: str, reason: str) -> None:
        self._metrics.deliveries(provider, "", "rejected", reason_label(reason)).inc()
        batch.reject(index, reason)
