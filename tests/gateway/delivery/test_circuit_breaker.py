"""The circuit breaker of a lane: every pair of state and event, and its time."""

import itertools

import pytest

from gateway.delivery.circuit_breaker import (
    BREAKER_OPEN_S,
    CLOSED_BREAKER,
    TRANSITIONS,
    BreakerEvent,
    BreakerState,
    CircuitBreaker,
)

AFTER = {
    "CLOSED": {
        "REFUSED": "OPEN",
        "ACCEPTED": "CLOSED",
        "TIME_OVER": "CLOSED",
        "CORRECTED": "CLOSED",
    },
    "OPEN": {
        "REFUSED": "OPEN",
        "ACCEPTED": "OPEN",
        "TIME_OVER": "HALF_OPEN",
        "CORRECTED": "HALF_OPEN",
    },
    "HALF_OPEN": {
        "REFUSED": "OPEN",
        "ACCEPTED": "CLOSED",
        "TIME_OVER": "HALF_OPEN",
        "CORRECTED": "HALF_OPEN",
    },
}


for _after in AFTER.values():
    _after["RESET"] = "CLOSED"


@pytest.mark.parametrize(("state", "event"), list(itertools.product(BreakerState, BreakerEvent)))
def test_every_pair_of_state_and_event_is_decided(state: BreakerState, event: BreakerEvent) -> None:
    assert TRANSITIONS[state, event].name == AFTER[state.name][event.name]
    before = CircuitBreaker(state, 5.0, "ExpiredToken")
    after = before.after_refusal("Revoked", 7.0) if event is BreakerEvent.REFUSED else before.after(event)
    assert after.state.name == AFTER[state.name][event.name]


def test_a_refusal_opens_it_for_its_time() -> None:
    breaker = CLOSED_BREAKER.after_refusal("Revoked", 100.0)
    assert breaker == (BreakerState.OPEN, 100.0 + BREAKER_OPEN_S, "Revoked")
    assert breaker.at(100.0 + BREAKER_OPEN_S - 0.1) is breaker
    assert breaker.at(100.0 + BREAKER_OPEN_S).state is BreakerState.HALF_OPEN
    assert breaker.at(100.0 + BREAKER_OPEN_S).reason == "Revoked"


def test_a_further_refusal_restarts_its_time() -> None:
    breaker = CLOSED_BREAKER.after_refusal("Revoked", 100.0).after_refusal("Expired", 110.0)
    assert (breaker.until_s, breaker.reason) == (110.0 + BREAKER_OPEN_S, "Expired")


@pytest.mark.parametrize("state", [BreakerState.CLOSED, BreakerState.HALF_OPEN])
def test_time_changes_only_an_open_one(state: BreakerState) -> None:
    breaker = CircuitBreaker(state, 5.0, "Revoked")
    assert breaker.at(1e9) is breaker
