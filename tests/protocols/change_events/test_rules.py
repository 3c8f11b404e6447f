import pytest

from protocols.change_events.rules import SourceRules


@pytest.mark.parametrize(
    ("source", "listed", "refusal"),
    [
        ("Pushing", False, None),
        ("Pushing", True, None),
        ("Other", False, "no_push_notify"),
        ("Other", True, "not_listed"),
        ("Shared", False, "app_partition"),
        ("Shared", True, "app_partition"),
        ("all", False, "no_push_notify"),
    ],
)
def test_which_sources_push(source: str, listed: bool, refusal: str | None) -> None:
    rules = SourceRules(frozenset({"Pushing", "Shared"}), frozenset({"Shared"}), listed)
    assert rules.refusal(source) == refusal
