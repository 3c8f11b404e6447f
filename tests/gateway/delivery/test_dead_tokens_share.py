"""The limit on dead tokens depends on their share: many dead tokens among more other answers are marked."""

import pytest

from gateway.delivery.dead_tokens import InvalidationLimiter


@pytest.mark.parametrize(("record_valid", "allowed"), [(3, False), (4, True)])
def test_as_many_dead_as_other_answers_are_accepted(record_valid: int, allowed: bool) -> None:
    limiter = InvalidationLimiter(count=2, within_s=10.0)
    limiter.record_valid(record_valid, 0.0)
    assert [limiter.allow_invalid(1.0) for _ in range(4)] == [True, True, True, allowed]


def test_a_broadcast_with_a_thousand_dead_tokens_among_many_marks_all() -> None:
    limiter = InvalidationLimiter()
    for second in range(30):
        limiter.record_valid(1000, float(second))
        assert all(limiter.allow_invalid(float(second)) for _ in range(33))


@pytest.mark.parametrize(("at_s", "allowed"), [(19.9, True), (20.0, False)])
def test_old_answers_do_not_count(at_s: float, allowed: bool) -> None:
    limiter = InvalidationLimiter(count=0, within_s=10.0)
    limiter.record_valid(5, 0.0)
    assert limiter.allow_invalid(at_s) == allowed
