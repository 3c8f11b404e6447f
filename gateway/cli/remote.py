"""Options of the commands that call a running gateway, and the API token that they use."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gateway.cli.options import add_settings_arguments, api_token, seconds
from gateway.client.errors import PingError
from gateway.client.job import DEFAULT_SERVER, DEFAULT_TIMEOUT_S
from gateway.client.sync_client import SyncClient

ADMIN: Final = "/rc/v1/admin"
"""Start of the paths of operators' routes."""

Action = Callable[[argparse.Namespace, SyncClient], int]
"""Carries out one action of a command against a gateway, and returns the exit status."""


def add_gateway_arguments(parser: argparse.ArgumentParser) -> None:
    """`--server`, `--token`, `--timeout`, and those of the settings."""
    parser.add_argument("--timeout", type=seconds, default=DEFAULT_TIMEOUT_S, metavar="S")
    parser.add_argument("--server", metavar="URL", help=f"default: $RHOPUSH_SERVER or {DEFAULT_SERVER}")
    parser.add_argument("--token", help="default: $API_TOKEN, the settings or the data folder")
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
    """Add a hint for the operator to the error of a gateway that cannot be reached.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
    """
    try:
        yield
    except PingError as error:
        if error.refused_with is not None:
            raise
        raise PingError(
            [f"{error.message} (start a gateway with `rhopush serve`, or name one with --server)"]
        ) from error


def add_action_arguments(parser: argparse.ArgumentParser) -> None:
    """`--json`, and the options of `add_gateway_arguments`."""
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    add_gateway_arguments(parser)


def run_action(args: argparse.Namespace, actions: Mapping[str, Action]) -> int:
    """Carry out the action that `args.action` names, and return its exit status.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
        BadSetting: there is no token.
    """
    client = client_of(args)
    with with_hint():
        return actions[args.action](args, client)


def pages_of(client: SyncClient, path: str, parameters: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield the elements of a list that the gateway returns in pages.

    Args:
        client: the client.
        path: path of the route after `ADMIN`.
        parameters: parameters of each request.
        name: the member of an answer that holds the elements.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
    """
    cursor: str | None = None
    while True:
        page = client.admin("GET", ADMIN + path, {**parameters, "cursor": cursor})
        yield from page[name]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def write_json(value: object) -> None:
    """Write a JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(value) + "\n")
