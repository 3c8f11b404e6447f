"""The brake looks at what share of a lane's tokens is dead: many among many more are believed."""

import pytest

from gateway.delivery.dead_tokens import Brake


@pytest.mark.parametrize(("alive", "allowed"), [(3, False), (4, True)])
def test_as_many_dead_as_alive_are_believed(alive: int, allowed: bool) -> None:
    brake = Brake(count=2, within_s=10.0)
    brake.alive(alive, 0.0)
    assert [brake.allows(1.0) for _ in range(4)] == [True, True, True, allowed]


def test_a_broadcast_with_a_thousand_gone_among_many_marks_them_all() -> None:
    brake = Brake()
    for second in range(30):
        brake.alive(1000, float(second))
        assert all(brake.allows(float(second)) for _ in range(33))


@pytest.mark.parametrize(("at_s", "allowed"), [(19.9, True), (20.0, False)])
def test_answers_of_long_ago_do_not_count(at_s: float, allowed: bool) -> None:
    brake = Brake(count=0, within_s=10.0)
    brake.alive(5, 0.0)
    assert brake.allows(at_s) == allowed
