"""The brake on dead tokens."""

import pytest

from gateway.delivery.dead_tokens import BRAKE_COUNT, BRAKE_S, Brake


@pytest.mark.parametrize(
    ("before", "allowed"), [(BRAKE_COUNT - 2, True), (BRAKE_COUNT - 1, True), (BRAKE_COUNT, False)]
)
def test_so_many_in_a_minute_and_no_more(before: int, allowed: bool) -> None:
    brake = Brake()
    for _ in range(before):
        brake.allows(0.0)
    assert brake.allows(BRAKE_S / 2) == allowed


@pytest.mark.parametrize(("at_s", "allowed"), [(9.9, False), (10.0, True)])
def test_the_brake_opens_when_the_time_has_passed(at_s: float, allowed: bool) -> None:
    brake = Brake(count=1, within_s=10.0)
    assert brake.allows(0.0)
    assert brake.allows(at_s) == allowed


def test_a_flood_that_goes_on_keeps_the_brake_closed() -> None:
    brake = Brake(count=2, within_s=10.0)
    assert [brake.allows(float(second)) for second in range(30)] == [True, True] + [False] * 28
