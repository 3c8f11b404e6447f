"""Options of the commands that talk to a running gateway, and the token that they use."""

import argparse
import contextlib
import os
from collections.abc import Iterator

from gateway.cli.options import add_settings_arguments, api_token
from gateway.client.errors import PingError
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


@contextlib.contextmanager
def with_hint() -> Iterator[None]:
    """Add to the error of a gateway that cannot be reached what the operator can do.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
    """
    try:
        yield
    except PingError as error:
        if error.refused_with is not None:
            raise
        raise PingError([f"{error.message} (start a gateway, or name one with --server)"]) from error
