"""Options of the commands that talk to a running gateway, and the token that they use."""

import argparse
import os

from gateway.cli.options import add_settings_arguments, api_token
from gateway.client.job import DEFAULT_SERVER, DEFAULT_TIMEOUT_S
from gateway.client.sync_client import SyncClient


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
    return SyncClient(server_of(args), args.token or api_token(args), args.timeout)
