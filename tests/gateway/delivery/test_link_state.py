"""Whether a lane can reach its provider: every pair of state and event."""

import itertools

import pytest

from gateway.delivery.link_state import TRANSITIONS, UNTRIED_LINK, Link, LinkEvent, LinkState

AFTER = {
    "UNTRIED": {"CONNECTED": "UP", "FAILED": "DOWN"},
    "UP": {"CONNECTED": "UP", "FAILED": "DOWN"},
    "DOWN": {"CONNECTED": "UP", "FAILED": "DOWN"},
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(LinkState, LinkEvent)))
def test_every_pair_of_state_and_event_is_decided(state: LinkState, event: LinkEvent) -> None:
    assert TRANSITIONS[state, event].name == AFTER[state.name][event.name]
    assert Link(state).after(event).state.name == AFTER[state.name][event.name]


def test_the_error_of_the_last_failure_is_cleared_by_a_connection() -> None:
    down = UNTRIED_LINK.after(LinkEvent.FAILED, "refused").after(LinkEvent.FAILED, "timed out")
    assert down == (LinkState.DOWN, "timed out")
    assert down.after(LinkEvent.CONNECTED) == (LinkState.UP, "")
