"""The place of one answer among those of its connection."""

from typing import Protocol

from gateway.errors import RhoPushError
from gateway.http_api import responses
from gateway.http_api.admission import Intake
from gateway.http_api.dependencies import Services
from gateway.http_api.responses import Answer
from gateway.queue.producer import Accepted


class ResponseContext(Protocol):
    """The part of the listening protocol (`gateway.http_api.fast_path`) that responses use.

    Attributes:
        services: what lies behind the HTTP API.
        intake: decides about pings, and counts them.
        accepted_head: the head of an accepted ping's response, up to the ping's id.
        date: the Date header of this second.
    """

    services: Services
    intake: Intake
    accepted_head: bytes
    date: str


class ResponseOwner(Protocol):
    """The part of a connection (`gateway.http_api.fast_path`) that a pending response uses."""

    @property
    def front(self) -> ResponseContext:
        """What all connections share."""

    def settled(self, slot: "Slot") -> None:
        """Write the responses that are ready."""


class Slot:
    """The place of one answer in its connection's order. The queue calls it with the ping's fate."""

    __slots__ = ("_answer", "_connection", "close", "ping_id", "ready", "warned")

    def __init__(self, connection: ResponseOwner, close: bool) -> None:
        self._connection = connection
        self._answer: Answer | None = None
        self.close = close
        self.ping_id = ""
        self.ready = False
        self.warned = ""  # what X-Ping-Warning says

    def __call__(self, outcome: Accepted | RhoPushError | None) -> None:
        """Settle this answer."""
        front = self._connection.front
        if isinstance(outcome, RhoPushError):
            self._answer = responses.of_error(outcome, self.ping_id)
            front.services.metrics.pings_refused(outcome.label).inc()
        else:
            front.intake.accepted.value += 1  # for each ping: without the call of `inc`
            if outcome is not None:
                self.ping_id = outcome.ping_id
            if self.warned:
                self._answer = responses.accepted(self.ping_id, self.warned)
        self.ready = True
        self._connection.settled(self)

    def answer(self, answer: Answer) -> None:
        """Settle it with an answer that is made already."""
        self._answer = answer
        self.ready = True
        self._connection.settled(self)

    def render(self, front: ResponseContext) -> bytes:
        """The bytes of the answer."""
        if self._answer is None and not self.close:
            return b"%b%b\r\n\r\n" % (front.accepted_head, self.ping_id.encode())
        answer = self._answer or responses.accepted(self.ping_id)
        return responses.wire(answer, front.date, close=self.close)
