"""The options that name recipients."""

import argparse
from typing import Any

import pytest

from gateway.cli.recipients import add_recipient_arguments, badge, names_somebody, recipients_of


def read(*words: str) -> dict[str, Any] | None:
    parser = argparse.ArgumentParser()
    add_recipient_arguments(parser)
    return recipients_of(parser.parse_args(words))


@pytest.mark.parametrize(
    ("words", "to", "named"),
    [
        ((), None, False),
        (("--all-users",), {"all_users": True}, True),
        (("--device", "a", "b", "--device", "c"), {"devices": ["a", "b", "c"]}, True),
        (
            ("--app", "x", "--provider", "fcm", "--except-user", "bob", "eve"),
            {"apps": ["x"], "providers": ["fcm"], "except_users": ["bob", "eve"]},
            False,
        ),
    ],
)
def test_the_options_become_to(words: tuple[str, ...], to: dict[str, Any] | None, named: bool) -> None:
    assert read(*words) == to
    assert names_somebody(to) is named


def test_a_badge_is_a_number_or_counts_up() -> None:
    assert (badge("3"), badge("+1"), badge("+2")) == (3, "+1", 2)
    with pytest.raises(ValueError, match="x"):
        badge("x")
