"""The options of commands that name the recipients of a ping."""

import argparse
from typing import Any, Final

OPTIONS: Final = ("all_users", "devices", "apps", "providers", "except_users")
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


def recipients_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """The ping's `to`; None: no option was given."""
    given = {name: getattr(args, name) for name in OPTIONS}
    return {name: value for name, value in given.items() if value is not None} or None


def names_somebody(to: dict[str, Any] | None) -> bool:
    """Whether the options name recipients, and do not only narrow them."""
    return to is not None and not {"all_users", "devices"}.isdisjoint(to)


def badge(text: str) -> int | str:
    """The value of `--badge`: a number, or "+1".

    Raises:
        ValueError: it is neither.
    """
    return text if text == "+1" else int(text)
