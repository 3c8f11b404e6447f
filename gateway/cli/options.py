"""Options shared by several commands."""

import argparse
import os
from pathlib import Path
from typing import Final

from gateway.delivery.provider_registry import installed
from gateway.errors import BadSetting
from gateway.settings import Settings, load
from gateway.store.address import all_addresses
from gateway.system.private_files import read_secret
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


def load_settings(args: argparse.Namespace) -> Settings:
    """Return the settings that the options name, overlaid with the process environment.

    Raises:
        BadSetting: a setting is unknown or invalid.
        BadProvider: an installed provider cannot be used.
    """
    settings = load(args.settings, args.env, os.environ, installed().settings_type)
    for _ in all_addresses(settings):  # an invalid address is reported before anything starts
        pass
    return settings


def api_token(args: argparse.Namespace) -> str:
    """The API token of the gateway whose settings these are, from the settings or the data folder.

    Raises:
        BadSetting: there is none, or a setting is wrong.
    """
    settings = load_settings(args)
    if settings.api_token is not None:
        return settings.api_token.reveal()
    file: Path = settings.data_dir / "api_token"
    try:
        kept = read_secret(file)
    except OSError as error:
        raise _no_token(file) from error
    if kept is None:
        raise _no_token(file)
    return kept.decode("utf-8", "replace").strip()


def _no_token(file: Path) -> BadSetting:
    return BadSetting(
        f"no API token: set --token or API_TOKEN, or run on the host with {file}", field="api_token"
    )


def count(text: str) -> int:
    """Parse a whole number above 0 (an argparse type)."""
    number = whole(text, 1)
    if number is None:
        raise argparse.ArgumentTypeError("expected a whole number, at least 1")
    return number


def seconds(text: str) -> float:
    """Parse a time limit (an argparse type)."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"expected seconds, above 0 and at most {_SECONDS_MAX:g}")
    return number


def port(text: str) -> int:
    """Parse a TCP port, 0 for any free port (an argparse type)."""
    number = whole(text, highest=65_535)
    if number is None:
        raise argparse.ArgumentTypeError("expected a port number from 0 to 65535")
    return number
