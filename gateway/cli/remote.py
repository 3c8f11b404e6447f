"""Options of the commands that talk to a running gateway, and the token that they use."""

import argparse
import os
from pathlib import Path

from gateway.cli.options import add_settings_arguments, load_settings
from gateway.client.job import DEFAULT_SERVER, DEFAULT_TIMEOUT_S
from gateway.client.sync_client import SyncClient
from gateway.errors import BadSetting
from gateway.system.private_files import read_secret


def add_gateway_arguments(parser: argparse.ArgumentParser) -> None:
    """`--server`, `--token`, `--timeout`, and those of the settings."""
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, metavar="S")
    parser.add_argument("--server", metavar="URL", help=f"default: $RHOPUSH_SERVER or {DEFAULT_SERVER}")
    parser.add_argument("--token", help="default: $API_TOKEN, the settings', or the data folder's")
    add_settings_arguments(parser)


def server_of(args: argparse.Namespace) -> str:
    """The URL of the gateway that the options or the environment name."""
    server: str = args.server or os.environ.get("RHOPUSH_SERVER") or DEFAULT_SERVER
    return server


def client_of(args: argparse.Namespace) -> SyncClient:
    """A client of that gateway.

    Raises:
        BadSetting: there is no token.
    """
    return SyncClient(server_of(args), args.token or own_token(args), args.timeout)


def own_token(args: argparse.Namespace) -> str:
    """The token of the gateway whose settings these are.

    Raises:
        BadSetting: there is none.
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
    return BadSetting(f"no API token: give --token or API_TOKEN, or run where {file} is", field="api_token")
