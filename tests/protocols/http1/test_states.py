import itertools

import pytest

from protocols.errors import WrongState
from protocols.http1.states import TRANSITIONS, ServerState, ServerStep, advance

READING = {
    "BODY": "BODY",
    "REQUEST": "ANSWERING",
    "LAST_REQUEST": "LAST",
    "HAND_OVER": "HANDING_OVER",
    "REFUSE": "REFUSED",
    "CLOSE": "CLOSING",
    "LOST": "CLOSED",
}
ENDED = {"END": "LAST", "DRAIN": "LAST"}
LEGAL = {
    "WAITING": READING | {"HEAD": "HEAD", "END": "CLOSING", "DRAIN": "CLOSING"},
    "HEAD": READING | ENDED | {"HEAD": "HEAD", "ANSWERED": "HEAD"},
    "BODY": READING | ENDED | {"ANSWERED": "BODY"},
    "ANSWERING": READING | ENDED | {"HEAD": "HEAD", "ANSWERED": "WAITING"},
    "LAST": ENDED | {"REFUSE": "REFUSED", "ANSWERED": "CLOSING", "CLOSE": "CLOSING", "LOST": "CLOSED"},
    "HANDING_OVER": {
        "ANSWERED": "HANDED_OVER",
        "END": "HANDING_OVER",
        "DRAIN": "LAST",
        "CLOSE": "CLOSING",
        "LOST": "CLOSED",
    },
    "REFUSED": {
        "ANSWERED": "REFUSED",
        "END": "REFUSED",
        "DRAIN": "REFUSED",
        "CLOSE": "CLOSING",
        "LOST": "CLOSED",
    },
    "CLOSING": {
        "ANSWERED": "CLOSING",
        "END": "CLOSING",
        "DRAIN": "CLOSING",
        "CLOSE": "CLOSING",
        "LOST": "CLOSED",
    },
    "HANDED_OVER": {},
    "CLOSED": {"LOST": "CLOSED"},
}


@pytest.mark.parametrize(("state", "step"), list(itertools.product(ServerState, ServerStep)))
def test_every_pair_of_state_and_step_is_decided(state: ServerState, step: ServerStep) -> None:
    expected = LEGAL[state.name].get(step.name)
    if expected is None:
        with pytest.raises(WrongState, match=f"{state.name} cannot take {step.name}"):
            advance(state, step)
    else:
        assert advance(state, step).name == expected


def test_nothing_leads_out_of_a_connection_that_is_closed_or_handed_over() -> None:
    final = {ServerState.CLOSED, ServerState.HANDED_OVER}
    assert {after for (state, _), after in TRANSITIONS.items() if state in final} == {ServerState.CLOSED}


def test_every_connection_that_is_not_handed_over_can_be_lost() -> None:
    for state in ServerState:
        if state is not ServerState.HANDED_OVER:
            assert advance(state, ServerStep.LOST) is ServerState.CLOSED


def test_every_state_is_reached() -> None:
    assert {ServerState.WAITING, *TRANSITIONS.values()} == set(ServerState)


def test_a_request_is_taken_exactly_in_the_states_up_to_answering() -> None:
    taking = {state for state in ServerState if (state, ServerStep.REQUEST) in TRANSITIONS}
    assert taking == {state for state in ServerState if state <= ServerState.ANSWERING}
