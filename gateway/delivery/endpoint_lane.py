"""A lane whose server is named by the devices' tokens: one for each origin, as Web Push has it.

A connection leads to one host, and its TLS certificate is that host's. So each origin has a lane of its own, with
connections, a circuit breaker and a backlog of its own: a server that does not answer holds up no delivery to another
one. Devices name the origins, so the number of such lanes is bounded, and a lane without deliveries is closed.
"""

import time
from collections.abc import Sequence
from typing import Final

from gateway.delivery.batch import Delivery
from gateway.delivery.http2_lane import Http2Lane

ENDPOINT_LANES_MAX: Final = 64
"""Most such lanes of a worker. For a further origin the one without an offer for the longest time is closed; the
deliveries that wait for it go to the schedule."""
IDLE_S: Final = 300.0
"""A lane that was offered nothing for so long is closed."""


class EndpointLane(Http2Lane):
    """An HTTP/2 lane that can be closed when it is idle.

    Attributes:
        offered_s: monotonic time of the last offer, or of the first one's planning.
    """

    offered_s = 0.0

    def offer(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Take deliveries."""
        self.offered_s = time.monotonic()
        super().offer(deliveries, bulk=bulk)

    def is_idle(self, now_s: float) -> bool:
        """Whether the lane has nothing to do and was offered nothing for `IDLE_S`; `now_s`: monotonic time."""
        return now_s - self.offered_s > IDLE_S and not self.backlog and not self.in_flight
