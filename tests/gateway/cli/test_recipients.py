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
            ("--push-token", "apns@com.example:ab", "fcm:c:d", "--push-token", "fcm:e"),
            {
                "tokens": [
                    {"provider": "apns", "token": "ab", "app": "com.example"},
                    {"provider": "fcm", "token": "c:d"},
                    {"provider": "fcm", "token": "e"},
                ]
            },
            True,
        ),
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


@pytest.mark.parametrize("text", ["", "apns", "apns:", ":ab", "apns@:ab", "@app:ab"])
def test_a_push_token_names_its_provider(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read("--push-token", text)
    assert caught.value.code == 2
    assert "expected PROVIDER:TOKEN or PROVIDER@APP:TOKEN" in capsys.readouterr().err


def test_a_badge_is_a_number_or_counts_up() -> None:
    assert (badge("3"), badge("+1"), badge("+2")) == (3, "+1", 2)
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected a whole number, or \+1"):
        badge("x")
