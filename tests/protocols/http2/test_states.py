import itertools

import pytest

from protocols.errors import WrongState
from protocols.http2.states import TRANSITIONS, ConnectionState, Step, advance

LEGAL = {
    "CONNECTING": {"SETTINGS": "OPEN", "GOAWAY": "DRAINING", "RETIRE": "DRAINING", "LOST": "CLOSED"},
    "OPEN": {"SETTINGS": "OPEN", "GOAWAY": "DRAINING", "RETIRE": "DRAINING", "LOST": "CLOSED"},
    "DRAINING": {
        "SETTINGS": "DRAINING",
        "GOAWAY": "DRAINING",
        "RETIRE": "DRAINING",
        "EMPTY": "CLOSED",
        "LOST": "CLOSED",
    },
    "CLOSED": {"RETIRE": "CLOSED", "LOST": "CLOSED"},
}


@pytest.mark.parametrize(("state", "step"), list(itertools.product(ConnectionState, Step)))
def test_every_pair_of_state_and_step_is_decided(state: ConnectionState, step: Step) -> None:
    expected = LEGAL[state.name].get(step.name)
    if expected is None:
        with pytest.raises(WrongState, match=f"{state.name} does not accept {step.name}"):
            advance(state, step)
    else:
        assert advance(state, step).name == expected


def test_nothing_leads_out_of_closed() -> None:
    assert {after for (state, _), after in TRANSITIONS.items() if state is ConnectionState.CLOSED} == {
        ConnectionState.CLOSED
    }


def test_every_state_can_be_lost() -> None:
    assert all(advance(state, Step.LOST) is ConnectionState.CLOSED for state in ConnectionState)
