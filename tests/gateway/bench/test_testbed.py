"""Waits, counts and refusals of a stand, without a gateway."""

import socket
from types import SimpleNamespace

import pytest

from gateway.bench.errors import CannotMeasure
from gateway.bench.testbed import BenchEnvironment, EnvironmentOptions, counted, limit_note


class Counted(BenchEnvironment):
    """A stand whose provider counts are set by the test."""

    def __init__(self, *delivered: int) -> None:
        super().__init__(EnvironmentOptions(1))
        self.store = SimpleNamespace(emptied=lambda: None)
        self._counts = iter(delivered)

    def delivered(self) -> int:
        return next(self._counts)


def test_an_equal_number_of_pushes_and_pings_is_complete() -> None:
    stand = Counted(5, 15)
    with stand.all_delivered(10):
        pass
    assert list(stand._counts) == []  # the counts were read before and after


@pytest.mark.parametrize("after", [14, 16])
def test_a_lost_or_duplicated_ping_is_reported(after: int) -> None:
    with (
        pytest.raises(CannotMeasure, match=f"10 pushes were due and {after - 5} came to the provider"),
        Counted(5, after).all_delivered(10),
    ):
        pass


def test_too_little_cpu_to_be_counted_is_reported() -> None:
    counted({"gateway": 0.01})
    with pytest.raises(CannotMeasure, match="too little was sent: ingress used less CPU"):
        counted({"gateway": 0.01, "ingress": 0.0})


def test_a_gateway_that_has_ended_is_reported() -> None:
    stand = BenchEnvironment(EnvironmentOptions(1))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stand.gateway = SimpleNamespace(port=port)
    with pytest.raises(CannotMeasure, match="the gateway does not answer: Connection refused"):
        stand.post(b"")


def test_a_provider_without_reserve_is_reported_as_the_limit() -> None:
    assert limit_note(0.5, 1000, 1.0) is None
    assert limit_note(0.51, 1000, 1.0) == (
        "the simulator is the limit: its capacity is 1,961/s, less than twice the rate that was sent"
    )
