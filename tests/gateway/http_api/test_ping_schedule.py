"""A ping with `deliver_at`, on both paths."""

import pytest

from gateway.errors import ScheduleFull
from protocols.errors import InvalidField
from protocols.ping.model import Ping
from tests.gateway.http_api.harness import House, call


@pytest.mark.parametrize(
    "value", [1_796_119_200, "1796119200", "2026-12-01T10:00:00Z", "2026-12-01T11:00:00+01:00"]
)
async def test_deliver_at_is_an_instant(both: House, value: object) -> None:
    answer = await call(both, {"user_id": "bob", "deliver_at": value})
    assert answer.status == 200
    assert "x-ping-warning" not in answer.headers
    assert both.queue.instants == [1_796_119_200_000]
    assert both.queue.pings == [Ping(users=("bob",))]


async def test_a_query_may_hold_deliver_at(both: House) -> None:
    answer = await call(both, {"user_id": "bob"}, path="/rc/v1/users/ping?deliver_at=1796119200")
    assert answer.status == 200
    assert both.queue.instants == [1_796_119_200_000]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-12-01T10:00:00", "with its zone"),
        ("tomorrow", "RFC 3339"),
        (1_796_119_200_000, "milliseconds"),
        ([], "not a list"),
    ],
)
async def test_a_wrong_deliver_at_is_refused_by_name(both: House, value: object, expected: str) -> None:
    answer = await call(both, {"user_id": "bob", "deliver_at": value})
    assert (answer.status, answer.error["field"]) == (400, "deliver_at")
    assert expected in answer.error["message"]
    assert both.queue.pings == []


async def test_nobody_waits_for_a_scheduled_ping(both: House) -> None:
    answer = await call(both, {"user_id": "bob", "deliver_at": 1_796_119_200, "wait": True})
    assert (answer.status, answer.error["field"]) == (400, "deliver_at")
    assert "wait" in answer.error["message"]


async def test_an_instant_that_the_schedule_refuses(both: House) -> None:
    both.queue.instant_error = InvalidField("deliver_at may be at most 30 days ahead", field="deliver_at")
    answer = await call(both, {"user_id": "bob", "deliver_at": 1_796_119_200})
    assert (answer.status, answer.error["field"]) == (400, "deliver_at")


async def test_a_full_schedule_is_503(both: House) -> None:
    both.queue.failure = ScheduleFull("full")
    answer = await call(both, {"user_id": "bob", "deliver_at": 1_796_119_200})
    assert (answer.status, answer.error["code"]) == (503, "schedule_full")
    assert int(answer.headers["retry-after"]) > 0
