"""The place of one response among those of its connection."""

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import QueueFull
from gateway.http_api import responses
from gateway.http_api.pending_response import PendingResponse
from gateway.metrics import Metrics
from gateway.queue.append_batch import Accepted

DATE = "Tue, 24 Nov 2026 10:00:00 GMT"
FIRST, SECOND = "0" * 32, "1" * 32


class Connection:
    """A connection that notes which responses are ready."""

    def __init__(self) -> None:
        self.ready: list[PendingResponse] = []
        self.metrics = Metrics()
        self.server: Any = SimpleNamespace(
            services=SimpleNamespace(metrics=self.metrics),
            admission=SimpleNamespace(accepted=self.metrics.pings_accepted("http")),
            accepted_head=responses.accepted_head(DATE),
            date=DATE,
        )

    def on_ready(self, response: PendingResponse) -> None:
        self.ready.append(response)

    def counted(self, line: str) -> bool:
        return line in self.metrics.exposition().decode().splitlines()


@pytest.fixture
def connection() -> Connection:
    return Connection()


def pending(connection: Connection, *, close: bool = False, warning: str = "") -> PendingResponse:
    made = PendingResponse(connection, close)
    made.ping_id, made.warning = FIRST, warning
    return made


@pytest.mark.parametrize("close", [True, False])
def test_an_accepted_ping_is_answered_with_its_id(connection: Connection, close: bool) -> None:
    made = pending(connection, close=close)
    assert not made.ready
    made.on_outcome(None)
    assert connection.ready == [made]
    text = made.render(connection.server).decode().lower()
    assert text.startswith("http/1.1 200 ok\r\n")
    assert f"x-ping-id: {FIRST}\r\n" in text
    assert ("connection: close" in text) == close
    assert connection.counted('rhopush_pings_accepted_total{ingress="http"} 1.0')


def test_a_repeat_has_the_id_of_the_first(connection: Connection) -> None:
    made = pending(connection)
    made.on_outcome(Accepted(SECOND))
    assert SECOND.encode() in made.render(connection.server)
    assert FIRST.encode() not in made.render(connection.server)


def test_unknown_parameters_cause_a_warning(connection: Connection) -> None:
    made = pending(connection, warning="badge is no number")
    made.on_outcome(None)
    assert b"badge is no number" in made.render(connection.server)


def test_a_ping_that_is_not_accepted_is_counted_by_its_reason(connection: Connection) -> None:
    made = pending(connection)
    made.on_outcome(QueueFull("the queue is full"))
    assert made.ready
    assert made.render(connection.server).startswith(b"HTTP/1.1 503 ")
    assert connection.counted('rhopush_pings_refused_total{reason="queue_full"} 1.0')
    assert not connection.counted('rhopush_pings_accepted_total{ingress="http"} 1.0')


def test_a_finished_response_is_returned_unchanged(connection: Connection) -> None:
    made = pending(connection)
    made.respond(responses.of_text("hello", status=404))
    assert connection.ready == [made]
    text = made.render(connection.server)
    assert text.startswith(b"HTTP/1.1 404 ")
    assert text.endswith(b"\r\n\r\nhello")
