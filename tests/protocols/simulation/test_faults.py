"""The fault language: what is read, what is refused, and when a fault strikes."""

import pytest

from protocols.errors import InvalidField
from protocols.simulation.faults import (
    FAULT_ACTIONS,
    Fault,
    FaultAction,
    FaultTable,
    describe_faults,
    parse_fault,
    sort_faults,
)

ANSWERS = {"410": "Unregistered", "Unregistered": "Unregistered", "429": "TooManyRequests"}

READ = [
    ("410", Fault(FaultAction.SEND, "Unregistered")),
    ("410=17:token=dead", Fault(FaultAction.SEND, "Unregistered", "17", token="dead")),
    ("Unregistered:dead", Fault(FaultAction.SEND, "Unregistered", token="dead")),
    ("429=30:next=5,token=ab", Fault(FaultAction.SEND, "TooManyRequests", "30", token="ab", next=5)),
    ("silence", Fault(FaultAction.SILENCE)),
    ("delay", Fault(FaultAction.DELAY, argument="1000")),
    ("delay=5:every=3", Fault(FaultAction.DELAY, argument="5", every=3)),
    ("reset=8", Fault(FaultAction.RESET, argument="8")),
    ("goaway", Fault(FaultAction.GOAWAY, argument="Shutdown", next=1)),
    ("goaway=IdleTimeout:every=100", Fault(FaultAction.GOAWAY, argument="IdleTimeout", every=100)),
    ("cut:after=9", Fault(FaultAction.CUT, after=9, next=1)),
    ("limit=0", Fault(FaultAction.LIMIT, argument="0", next=1)),
    ("silence:abc:APA91b", Fault(FaultAction.SILENCE, token="abc:APA91b")),
]


@pytest.mark.parametrize(("text", "fault"), READ, ids=[row[0] for row in READ])
def test_a_fault_is_read(text: str, fault: Fault) -> None:
    assert parse_fault(text, ANSWERS) == fault


REFUSED = [
    ("", "is unknown"),
    ("411", "is unknown"),
    ("410=soon", "no whole number"),
    ("delay=-1", "no whole number"),
    ("cut=1", "takes no argument"),
    ("silence:next=x", "no whole number"),
    ("silence:when=1", "is unknown; known: token, after, every, next"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_fault_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidField, match=message) as caught:
        parse_fault(text, ANSWERS)
    assert caught.value.field == "fault"


STRIKES = [
    ("silence", "XXXXXX"),
    ("silence:next=2", "XX...."),
    ("silence:after=2", "..XXXX"),
    ("silence:every=3", "..X..X"),
    ("silence:after=1,every=2,next=2", "..X.X."),
    ("cut", "X....."),
]


@pytest.mark.parametrize(("text", "pattern"), STRIKES, ids=[row[0] for row in STRIKES])
def test_when_a_fault_strikes(text: str, pattern: str) -> None:
    table = FaultTable(ANSWERS, [text])
    assert "".join("X" if table.next_fault("ab") else "." for _ in pattern) == pattern


def test_only_fitting_tokens_count_and_the_first_fault_decides() -> None:
    table = FaultTable(ANSWERS, ["silence:token=ab,next=1", "cut"])
    struck = [table.next_fault(token) for token in ("cd", "ab", "ab")]
    assert [fault.action if fault else None for fault in struck] == [
        FaultAction.CUT,
        FaultAction.SILENCE,
        None,
    ]


def test_faults_come_and_go_while_it_runs() -> None:
    table = FaultTable(ANSWERS)
    assert table.next_fault("ab") is None
    assert table.add("410") == Fault(FaultAction.SEND, "Unregistered")
    assert table.next_fault("ab") == Fault(FaultAction.SEND, "Unregistered")
    table.clear()
    assert table.next_fault("ab") is None


def test_the_command_line_names_the_provider() -> None:
    providers = {"apns": ANSWERS, "fcm": ANSWERS}
    assert sort_faults(["fcm:410:x", "apns:cut", "fcm:cut"], providers) == {
        "apns": ["cut"],
        "fcm": ["410:x", "cut"],
    }
    with pytest.raises(InvalidField, match="must begin with one of apns, fcm"):
        sort_faults(["410"], providers)
    with pytest.raises(InvalidField, match="is unknown"):
        sort_faults(["apns:411"], providers)


def test_every_word_is_described() -> None:
    text = describe_faults()
    assert all(action.value in text for action in FAULT_ACTIONS)
    assert FaultAction.SEND not in FAULT_ACTIONS
