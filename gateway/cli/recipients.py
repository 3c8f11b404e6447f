"""The options of commands that name the recipients of a ping."""

import argparse
from typing import Any, Final

OPTIONS: Final = ("all_users", "devices", "tokens", "apps", "providers", "except_users")
"""The names of the arguments, which are the keys of `to`."""


def add_recipient_arguments(parser: argparse._ActionsContainer) -> None:
    """Declare the options that become the ping's `to`."""
    parser.add_argument("--all-users", action="store_true", default=None, help="every user")
    for option, name, metavar, text in (
        ("--device", "devices", "CLIENT", "a device by its client id"),
        ("--app", "apps", "APP", "only devices of this app"),
        ("--provider", "providers", "PROVIDER", "only devices of this provider: apns, fcm, ..."),
        ("--except-user", "except_users", "NAME", "not the devices of this user"),
    ):
        parser.add_argument(option, dest=name, metavar=metavar, nargs="+", action="extend", help=text)
    parser.add_argument(
        "--push-token",
        dest="tokens",
        type=push_token,
        metavar="PROVIDER[@APP]:TOKEN",
        nargs="+",
        action="extend",
        help="a push token that need not be registered; APP: the app whose settings apply",
    )


def recipients_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """The ping's `to`; None: no option was given."""
    given = {name: getattr(args, name) for name in OPTIONS}
    return {name: value for name, value in given.items() if value is not None} or None


def names_somebody(to: dict[str, Any] | None) -> bool:
    """Whether the options name recipients, and do not only narrow them."""
    return to is not None and not {"all_users", "devices", "tokens"}.isdisjoint(to)


def push_token(text: str) -> dict[str, str]:
    """The value of `--push-token` as an item of `to.tokens` (an argparse type). Tokens of FCM contain colons."""
    target, colon, token = text.partition(":")
    provider, at, app = target.partition("@")
    if not (provider and colon and token) or (at and not app):
        raise argparse.ArgumentTypeError("expected PROVIDER:TOKEN or PROVIDER@APP:TOKEN")
    return {"provider": provider, "token": token, **({"app": app} if app else {})}


def badge(text: str) -> int | str:
    """The value of `--badge`: a number, or "+1" (an argparse type)."""
    try:
        return text if text == "+1" else int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("expected a whole number, or +1") from error
