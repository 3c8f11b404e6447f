"""Options that several commands have."""

import argparse
import os
from pathlib import Path

from gateway.delivery.provider_registry import installed
from gateway.settings import Settings, load
from gateway.store.address import all_addresses
from protocols.numbers import whole


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """`--settings` and `--env`."""
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="default: settings/settings.yml, if there is one"
    )
    parser.add_argument("--env", metavar="NAME", help="default: $RHO_ENV, $RACK_ENV or development")


def load_settings(args: argparse.Namespace) -> Settings:
    """The settings that the options name, with the process environment over them.

    Raises:
        BadSetting: one is unknown or wrong.
        BadProvider: an installed provider cannot be used.
    """
    settings = load(args.settings, args.env, os.environ, installed().settings_type)
    for _ in all_addresses(settings):  # so that a wrong one is told before anything starts
        pass
    return settings


def count(text: str) -> int:
    """An argparse type: a whole number above 0."""
    number = whole(text, 1)
    if number is None:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return number


def port(text: str) -> int:
    """An argparse type: a TCP port, 0 for any free one."""
    number = whole(text, highest=65_535)
    if number is None:
        raise argparse.ArgumentTypeError("must be a port number")
    return number
