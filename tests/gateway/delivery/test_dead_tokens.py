"""The limit on marks of dead tokens."""

import pytest

from gateway.delivery.dead_tokens import BURST_COUNT, BURST_WINDOW_S, InvalidationLimiter


@pytest.mark.parametrize(
    ("before", "allowed"), [(BURST_COUNT - 2, True), (BURST_COUNT - 1, True), (BURST_COUNT, False)]
)
def test_the_number_of_marks_in_a_minute_is_limited(before: int, allowed: bool) -> None:
    limiter = InvalidationLimiter()
    for _ in range(before):
        limiter.allow_invalid(0.0)
    assert limiter.allow_invalid(BURST_WINDOW_S / 2) == allowed


@pytest.mark.parametrize(("at_s", "allowed"), [(9.9, False), (10.0, True)])
def test_the_limit_ends_when_the_time_has_passed(at_s: float, allowed: bool) -> None:
    limiter = InvalidationLimiter(count=1, within_s=10.0)
    assert limiter.allow_invalid(0.0)
    assert limiter.allow_invalid(at_s) == allowed


def test_a_continuing_flood_keeps_the_limit_in_force() -> None:
    limiter = InvalidationLimiter(count=2, within_s=10.0)
    assert [limiter.allow_invalid(float(second)) for second in range(30)] == [True, True] + [False] * 28
