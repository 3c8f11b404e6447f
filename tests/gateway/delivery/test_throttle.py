"""The slow-down of a lane after a 429: every pair of state and event, the pause, and the ramp behind it."""

import itertools

import pytest

from gateway.delivery.throttle import (
    FREE,
    RAMP_DOUBLING_S,
    RAMP_FIRST_PER_S,
    RAMP_S,
    TRANSITIONS,
    Throttle,
    ThrottleEvent,
    ThrottleState,
)

AFTER = {
    "FREE": {"LIMITED": "PAUSED", "TIME_OVER": "FREE"},
    "PAUSED": {"LIMITED": "PAUSED", "TIME_OVER": "RAMPING"},
    "RAMPING": {"LIMITED": "PAUSED", "TIME_OVER": "FREE"},
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(ThrottleState, ThrottleEvent)))
def test_every_pair_of_state_and_event_is_decided(state: ThrottleState, event: ThrottleEvent) -> None:
    assert TRANSITIONS[state, event].name == AFTER[state.name][event.name]
    before = Throttle(state, 5.0)
    after = before.after_limit(3.0, 4.0) if event is ThrottleEvent.LIMITED else before.at(5.0)
    assert after.state.name == AFTER[state.name][event.name]


def test_a_pause_lasts_as_long_as_the_provider_asks() -> None:
    paused = FREE.after_limit(30.0, 100.0)
    assert (paused.state, paused.until_s, paused.left_s(110.0)) == (ThrottleState.PAUSED, 130.0, 20.0)
    assert paused.at(129.9) is paused
    assert paused.at(130.0).state is ThrottleState.RAMPING


@pytest.mark.parametrize(("delay_s", "until_s"), [(1.0, 130.0), (40.0, 141.0)])
def test_a_further_429_only_lengthens_a_pause(delay_s: float, until_s: float) -> None:
    assert FREE.after_limit(30.0, 100.0).after_limit(delay_s, 101.0).until_s == until_s


def test_a_429_in_the_ramp_is_a_new_pause_whatever_is_left_of_the_ramp() -> None:
    ramping = FREE.after_limit(30.0, 100.0).at(130.0)
    assert ramping.until_s == 130.0 + RAMP_S
    assert ramping.after_limit(2.0, 131.0) == (ThrottleState.PAUSED, 133.0, 0.0, 0.0)


def test_the_ramp_begins_with_one_request_and_its_rate_doubles() -> None:
    ramping = FREE.after_limit(1.0, 0.0).at(1.0)
    assert ramping.counted(1.0).tokens == 1.0
    begun = 0.0
    first = ramping.spent(1)
    for tenth in range(1, 11):
        first = first.counted(1.0 + tenth / 10)
        begun += int(first.tokens)
        first = first.spent(int(first.tokens))
    assert RAMP_FIRST_PER_S * 0.9 <= begun <= RAMP_FIRST_PER_S * 1.2
    later = ramping._replace(tokens=0.0, counted_s=1.0 + RAMP_DOUBLING_S - 0.5).counted(1.0 + RAMP_DOUBLING_S)
    assert later.tokens == pytest.approx(RAMP_FIRST_PER_S * 2 * 0.5)


def test_a_lane_that_sends_little_saves_up_no_burst() -> None:
    ramping = FREE.after_limit(1.0, 0.0).at(1.0)
    assert ramping.counted(1.0 + RAMP_DOUBLING_S).tokens == pytest.approx(RAMP_FIRST_PER_S * 2)


def test_the_ramp_ends_above_the_default_quota() -> None:
    ramping = FREE.after_limit(1.0, 0.0).at(1.0)
    assert ramping.counted(1.0 + RAMP_S).tokens >= 600_000 / 60
    assert ramping.at(1.0 + RAMP_S) is FREE
    assert FREE.left_s(0.0) == ramping.left_s(1.0) == 0.0
