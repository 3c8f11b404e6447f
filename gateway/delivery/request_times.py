"""How long the deliveries of a lane wait for their request, and their requests for a response.

No clock is read for a single delivery. The wait is taken from the first delivery of those that begin together. The
time to the response is that of one request at a time, chosen when the previous one has ended, so slow and fast
responses are sampled alike.
"""

import time
from collections.abc import Sequence

from gateway.delivery.batch import Delivery
from gateway.metrics import REQUEST, RESPONSE, Metrics


class RequestTimes:
    """Measures the stages `REQUEST` and `RESPONSE` of one lane, and counts its responses.

    Args:
        metrics: receive the measurements.
        provider: name of the lane's provider.
    """

    __slots__ = ("_begun_s", "_metrics", "_provider", "_responses", "_sample", "_waits")

    def __init__(self, metrics: Metrics, provider: str) -> None:
        self._metrics = metrics
        self._provider = provider
        self._waits = metrics.stage_seconds(REQUEST, provider)
        self._responses = metrics.stage_seconds(RESPONSE, provider)
        self._sample: Delivery | None = None
        self._begun_s = 0.0

    def begun(self, first: Delivery, number: int, now_ms: int) -> None:
        """Record that `number` requests begin, of which `first` waited longest; `now_ms` by the shared clock."""
        since_ms = first.batch.planned_ms
        if since_ms:
            self._waits.observe_times((now_ms - since_ms) / 1000 if since_ms < now_ms else 0.0, number)
        if self._sample is None:
            self._sample, self._begun_s = first, time.monotonic()

    def accepted(self, deliveries: Sequence[Delivery]) -> None:
        """Record responses of 200. The hot path: no Python code runs for a single delivery."""
        self._count(200, len(deliveries))
        self.ended(deliveries)

    def ended(self, deliveries: Sequence[Delivery]) -> None:
        """Record the end of requests that have no HTTP status."""
        if self._sample is not None and self._sample in deliveries:
            self._responses.observe(time.monotonic() - self._begun_s)
            self._sample = None

    def answered(self, delivery: Delivery, status: int) -> None:
        """Record a response of any status; 0: there was none by the deadline, or the connection was lost."""
        self._count(status, 1)
        self.ended((delivery,))

    def unprocessed(self, delivery: Delivery) -> None:
        """Forget a request that the provider did not process."""
        if delivery is self._sample:
            self._sample = None

    def _count(self, status: int, number: int) -> None:
        label = str(status) if 100 <= status <= 599 else "other" if status else "none"
        self._metrics.provider_responses(self._provider, label).inc(number)
