"""Round trips to Redis: one at a time, from a write to the reply to its last command."""

from gateway.metrics import Metrics
from gateway.store.round_trips import RoundTrips
from tests.gateway.conftest import MakeLink


def test_one_round_trip_is_measured_at_a_time() -> None:
    seconds = Metrics().redis_seconds("append")
    trips = RoundTrips(seconds)
    trips.answered(0)
    trips.sent(3)
    trips.sent(5)
    trips.answered(2)
    assert sum(seconds.counts) == 0
    trips.answered(3)
    assert sum(seconds.counts) == 1
    trips.answered(5)
    assert sum(seconds.counts) == 1
    trips.sent(6)
    trips.answered(6)
    assert sum(seconds.counts) == 2
    assert seconds.total >= 0


async def test_a_connection_measures_its_commands_and_not_its_greeting(make_link: MakeLink) -> None:
    seconds = Metrics().redis_seconds("append")
    connection = await make_link(seconds=seconds)
    assert sum(seconds.counts) == 0
    for number in range(3):
        await connection.call("SET", "key", number)
    assert sum(seconds.counts) == 3
