"""The times to live of deliveries. Plain functions, since a lane calls them for each delivery that begins."""

from typing import Final

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery

SINGLE_TRY_MS: Final = 10_000
"""Longest time until the only attempt of a ping with a time to live of 0 must begin (providers A2: apns-expiration
0)."""


def expires_ms(delivery: Delivery) -> int:
    """End of a delivery's time to live; adjusted if Redis' clock was set since the ping was accepted."""
    accepted_ms = delivery.batch.pings[delivery.batch.ping_of(delivery.index)].accepted_ms
    return delivery.message.expires_ms + SHARED_CLOCK.corrected(accepted_ms) - accepted_ms


def is_over(delivery: Delivery, now_ms: int) -> bool:
    """Whether a delivery's time to live has ended. With a time to live of 0 it has one attempt, which must begin at
    once."""
    if delivery.message.expires_ms > now_ms or expires_ms(delivery) > now_ms:
        return False
    batch = delivery.batch
    ping = batch.pings[batch.ping_of(delivery.index)]
    accepted_ms = SHARED_CLOCK.corrected(ping.accepted_ms)
    return ping.ttl_s != 0 or batch.attempt > 0 or now_ms >= accepted_ms + SINGLE_TRY_MS
