from protocols.http2.outcome import OutcomeKind, RequestOutcome


def test_an_outcome_without_a_response_needs_only_its_kind() -> None:
    outcome = RequestOutcome("mine", OutcomeKind.UNTRIED)
    assert outcome == ("mine", 1, 0, (), b"", "")


def test_the_outcome_kinds_have_fixed_numbers() -> None:
    assert [(fate.name, fate.value) for fate in OutcomeKind] == [
        ("ANSWERED", 0),
        ("UNTRIED", 1),
        ("UNKNOWN", 2),
    ]
