"""Messages that a provider checks without delivering them (FCM: `validate_only`).

The requests use the server and the credential of a lane, on a connection of their own that ends with them: nothing of a
lane's deliveries, metrics, marks or states depends on their answers.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.clock import SHARED_CLOCK
from gateway.delivery.http2_lane import UNAUTHORIZED, Http2Lane
from gateway.delivery.lane import NO_CONNECTION
from gateway.transport.feed import OutgoingRequest, RequestFeed
from gateway.transport.pool import ConnectionPool
from protocols.http2.client import Header, OutcomeKind, RequestOutcome
from protocols.verdict import Verdict, VerdictKind

VALIDATIONS_MAX: Final = 100
"""Most messages that one request may let providers check: they count against the quota of the project."""
CONCURRENCY: Final = 10
"""Requests of one lane that wait for their answers at a time."""
DEADLINE_S: Final = 15.0
"""How long all requests of one lane together may take."""
_TRIES_MAX: Final = 3
"""A request that so many connections refused unprocessed is not sent again."""
_LOOK_S: Final = 0.02
"""How often the credential is asked for an access token that is being fetched."""


class ValidationRequest(NamedTuple):
    """One message to check.

    Attributes:
        path: of the request.
        headers: of the message, without authorization.
        body: as `Provider.validation_body` makes it.
    """

    path: bytes
    headers: Sequence[Header]
    body: bytes


async def validate(lane: Http2Lane, requests: Sequence[ValidationRequest]) -> list[Verdict]:
    """The provider's verdict about each message, in their order. It takes at most `DEADLINE_S`.

    A message without an answer has the verdict unknown, with the reason.
    """
    feed = _ValidationFeed(lane, requests)
    pool = ConnectionPool(lane.endpoint, feed, connections_max=1, deadline_s=DEADLINE_S)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                await feed.authorized()
                pool.wake()
                await feed.done.wait()
    finally:
        await pool.close(0.0)
    return feed.verdicts()


class _ValidationFeed(RequestFeed):
    """Gives a pool a few requests at a time, and keeps the verdicts.

    Attributes:
        done: set when every request has a verdict, or none can be had any more.
    """

    def __init__(self, lane: Http2Lane, requests: Sequence[ValidationRequest]) -> None:
        self._lane = lane
        self._requests = requests
        self._waiting = deque(range(len(requests)))
        self._tries = [0] * len(requests)
        self._verdicts: dict[int, Verdict] = {}
        self._in_flight = 0
        self._failure = UNAUTHORIZED
        self._authorization: Sequence[Header] = ()
        self.done = asyncio.Event()

    async def authorized(self) -> None:
        """Return once the lane's credential has an access token. Raises TimeoutError."""
        for _ in range(int(DEADLINE_S / _LOOK_S)):
            found = self._lane.credential.authorization()
            if found is not None:
                self._authorization, self._failure = found, "deadline"
                return
            await asyncio.sleep(_LOOK_S)
        raise TimeoutError

    def verdicts(self) -> list[Verdict]:
        """The verdict of each request."""
        missing = Verdict(VerdictKind.UNKNOWN, self._failure)
        return [self._verdicts.get(index, missing) for index in range(len(self._requests))]

    def waiting(self) -> int:
        """See `RequestFeed`."""
        return min(len(self._waiting), CONCURRENCY - self._in_flight)

    def max_batch(self) -> int:
        """See `RequestFeed`."""
        return CONCURRENCY

    def take(self, n: int) -> Sequence[OutgoingRequest]:
        """See `RequestFeed`."""
        authority = self._lane.endpoint.authority.encode()
        head: list[Header] = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", authority)]
        taken: list[OutgoingRequest] = []
        for _ in range(min(n, self.waiting())):
            index = self._waiting.popleft()
            request = self._requests[index]
            headers = [*head, (b":path", request.path), *self._authorization, *request.headers]
            taken.append((headers, request.body, index))
        self._in_flight += len(taken)
        return taken

    def on_outcomes(self, outcomes: Sequence[RequestOutcome]) -> None:
        """See `RequestFeed`."""
        self._in_flight -= len(outcomes)
        for outcome in outcomes:
            self._judge(outcome.context, outcome)
        if len(self._verdicts) == len(self._requests):
            self.done.set()

    def _judge(self, index: int, outcome: RequestOutcome) -> None:
        if outcome.kind is OutcomeKind.ANSWERED:
            self._verdicts[index] = self._lane.provider.judge(
                outcome.status, outcome.headers, outcome.body, SHARED_CLOCK.now_s()
            )
            return
        self._tries[index] += 1
        if outcome.kind is OutcomeKind.UNTRIED and self._tries[index] < _TRIES_MAX:
            self._waiting.append(index)
        else:
            self._verdicts[index] = Verdict(VerdictKind.UNKNOWN, outcome.reason or "connection_lost")

    def on_connections_changed(self, connected: int, error: str | None) -> None:
        """Give up when the provider cannot be reached: the caller waits, and the lane itself tries again and again."""
        if not connected and error is not None:
            self._failure = f"{NO_CONNECTION}: {error}"
            self.done.set()
