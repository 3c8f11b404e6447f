"""Times to live of deliveries."""

from typing import Any

import pytest

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.lifetime import SINGLE_TRY_MS, expires_ms, is_over
from gateway.delivery.route import Route
from gateway.queue.entries import Chunk, Lease
from gateway.store import keys
from protocols.devices import Device
from protocols.ping.model import Ping

LEASE = Lease(keys.PINGS, "1-0", b"", 1, 1, redelivered=False)


class Message:
    """A message with a time at which it expires."""

    def __init__(self, at_ms: int) -> None:
        self.expires_ms = at_ms


def delivery(accepted_ms: int, ttl_s: int, attempt: int = 0) -> Delivery:
    ping = Ping(id="0" * 32, accepted_ms=accepted_ms, ttl_s=ttl_s)
    batch = DeliveryBatch(LEASE, "0" * 28, [ping], lambda _: None, chunk=Chunk(ping, attempt=attempt))
    batch.begin_ping({})
    message: Any = Message(accepted_ms + ttl_s * 1000)
    lane: Any = None
    index = batch.add_delivery("client", "fcm")
    return Delivery(batch, index, Device("client"), Route(lane, None, ""), message, b"", b"")


@pytest.mark.parametrize(("ttl_s", "later_ms", "over"), [(60, 59_999, False), (60, 60_000, True)])
def test_a_delivery_is_over_with_its_time_to_live(ttl_s: int, later_ms: int, over: bool) -> None:
    now_ms = SHARED_CLOCK.now_ms()
    one = delivery(now_ms, ttl_s)
    assert expires_ms(one) == now_ms + ttl_s * 1000
    assert is_over(one, now_ms + later_ms) is over


@pytest.mark.parametrize(
    ("attempt", "later_ms", "over"),
    [(0, 0, False), (0, SINGLE_TRY_MS - 1, False), (0, SINGLE_TRY_MS, True), (1, 0, True)],
)
def test_without_a_time_to_live_there_is_one_attempt_that_begins_at_once(
    attempt: int, later_ms: int, over: bool
) -> None:
    now_ms = SHARED_CLOCK.now_ms()
    assert is_over(delivery(now_ms, 0, attempt), now_ms + later_ms) is over
