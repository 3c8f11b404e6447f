"""Options shared by several commands.

The settings themselves are read by `gateway.cli.given_settings`: a command that is given a token needs none.
"""

import argparse
from pathlib import Path
from typing import Final

from protocols.numbers import whole

_SECONDS_MAX: Final = 1e6
"""Longest time limit: the operating system refuses much longer ones."""


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--settings` and `--env`."""
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="settings file (default: settings/settings.yml, if it exists)",
    )
    parser.add_argument(
        "--env",
        metavar="NAME",
        help="environment in the settings file (default: $RHO_ENV, $RACK_ENV or development)",
    )


def count(text: str) -> int:
    """Parse a whole number above 0 (an argparse type)."""
    number = whole(text, 1)
    if number is None:
        raise argparse.ArgumentTypeError("expected a whole number, at least 1")
    return number


def number(text: str) -> int:
    """Parse a whole number from 0 (an argparse type)."""
    parsed = whole(text)
    if parsed is None:
        raise argparse.ArgumentTypeError("expected a whole number, at least 0")
    return parsed


def seconds(text: str) -> float:
    """Parse a time limit (an argparse type)."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"expected seconds, above 0 and at most {_SECONDS_MAX:.0f}")
    return number


def port(text: str) -> int:
    """Parse a TCP port, 0 for any free port (an argparse type)."""
    number = whole(text, highest=65_535)
    if number is None:
        raise argparse.ArgumentTypeError("expected a port number from 0 to 65535")
    return number
