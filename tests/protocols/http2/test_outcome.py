from protocols.http2.outcome import OutcomeKind, RequestOutcome


def test_an_outcome_without_an_answer_needs_only_its_fate() -> None:
    outcome = RequestOutcome("mine", OutcomeKind.UNTRIED)
    assert outcome == ("mine", 1, 0, (), b"", "")


def test_the_fates_are_these_numbers() -> None:
    assert [(fate.name, fate.value) for fate in OutcomeKind] == [
        ("ANSWERED", 0),
        ("UNTRIED", 1),
        ("UNKNOWN", 2),
    ]
