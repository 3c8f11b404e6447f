"""The settings that the options `--settings` and `--env` of a command name, and the API token in them."""

import argparse
import os
from pathlib import Path

from gateway.delivery.provider_registry import installed
from gateway.errors import BadSetting
from gateway.settings import Settings, load
from gateway.store.address import all_addresses
from gateway.system.private_files import read_secret


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
        raise BadSetting(
            f"no API token: {file} cannot be read: {error.strerror}; set --token or API_TOKEN, "
            "or run as the user of the gateway",
            field="api_token",
        ) from error
    if kept is None:
        raise BadSetting(
            f"no API token: set --token or API_TOKEN, or run on the host with {file}", field="api_token"
        )
    return kept.decode("utf-8", "replace").strip()
