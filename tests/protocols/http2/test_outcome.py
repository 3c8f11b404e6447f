from protocols.http2.outcome import Fate, Outcome


def test_an_outcome_without_an_answer_needs_only_its_fate() -> None:
    outcome = Outcome("mine", Fate.UNTRIED)
    assert outcome == ("mine", 1, 0, (), b"", "")


def test_the_fates_are_these_numbers() -> None:
    assert [(fate.name, fate.value) for fate in Fate] == [("ANSWERED", 0), ("UNTRIED", 1), ("UNKNOWN", 2)]
