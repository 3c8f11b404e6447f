"""What a stand waits for, counts and refuses; without a gateway."""

import socket
from types import SimpleNamespace

import pytest

from gateway.bench.errors import CannotMeasure
from gateway.bench.testbed import BenchEnvironment, EnvironmentOptions, counted, limit_note


class Counted(BenchEnvironment):
    """Its provider says what the test says."""

    def __init__(self, *delivered: int) -> None:
        super().__init__(EnvironmentOptions(1))
        self.store = SimpleNamespace(emptied=lambda: None)
        self._counts = iter(delivered)

    def delivered(self) -> int:
        return next(self._counts)


def test_as_many_pushes_as_pings_are_all() -> None:
    stand = Counted(5, 15)
    with stand.all_delivered(10):
        pass
    assert list(stand._counts) == []  # it was asked before and after


@pytest.mark.parametrize("after", [14, 16])
def test_a_ping_that_was_lost_or_doubled_is_told(after: int) -> None:
    with (
        pytest.raises(CannotMeasure, match=f"10 pings were accepted and {after - 5} pushes"),
        Counted(5, after).all_delivered(10),
    ):
        pass


def test_what_is_too_little_to_be_counted_is_told() -> None:
    counted({"gateway": 0.01})
    with pytest.raises(CannotMeasure, match="too little was sent: ingress used less CPU"):
        counted({"gateway": 0.01, "ingress": 0.0})


def test_a_gateway_that_is_gone_is_told() -> None:
    stand = BenchEnvironment(EnvironmentOptions(1))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stand.gateway = SimpleNamespace(port=port)
    with pytest.raises(CannotMeasure, match="the gateway does not answer: Connection refused"):
        stand.post(b"")


def test_a_provider_that_could_not_take_twice_as_much_is_the_limit() -> None:
    assert limit_note(0.5, 1000, 1.0) is None
    assert limit_note(0.51, 1000, 1.0) == (
        "the simulator is the limit: its capacity is 1,961/s, less than twice the rate that was sent"
    )
