"""Lanes whose server is named by the devices' tokens: one lane for each origin, as Web Push requires.

A connection leads to one host, and its TLS certificate is that host's. Therefore each origin has its own lane with
its own connections, circuit breaker and backlog: a server that does not answer delays no delivery to another
server. Devices name the origins, so the number of such lanes is bounded, and a lane without deliveries is closed.
"""

import time
from collections.abc import Sequence
from typing import Final

from gateway.delivery.batch import Delivery
from gateway.delivery.circuit_breaker import BreakerState
from gateway.delivery.http2_lane import Http2Lane
from gateway.delivery.throttle import ThrottleState

ENDPOINT_LANES_MAX: Final = 64
"""Most such lanes of a worker. For a further origin, the lane with the oldest offer is closed; its waiting
deliveries go to the schedule."""
IDLE_S: Final = 300.0
"""Time without an offer after which a lane is closed."""


class EndpointLane(Http2Lane):
    """An HTTP/2 lane that can be closed when it is idle.

    Attributes:
        offered_s: monotonic time of the last offer, or of the first one's planning.
    """

    offered_s = 0.0

    def offer(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Accept deliveries."""
        self.offered_s = time.monotonic()
        super().offer(deliveries, bulk=bulk)

    def is_idle(self, now_s: float) -> bool:
        """Whether the lane has nothing to do and was offered nothing for `IDLE_S`; `now_s`: monotonic time.

        A lane whose server asked for a pause, or refused the credential, is not idle before the pause ends: a new
        lane would begin without it.
        """
        if self._throttle.state is not ThrottleState.FREE or self._breaker.state is BreakerState.OPEN:
            return False
        return now_s - self.offered_s > IDLE_S and not self.backlog and not self.in_flight
