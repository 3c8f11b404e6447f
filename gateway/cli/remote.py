"""Options of the commands that call a running gateway, and the API token that they use."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

from gateway.cli.options import add_settings_arguments, seconds
from gateway.cli.table import write_table
from gateway.client.errors import PingError
from gateway.client.job import DEFAULT_SERVER, DEFAULT_TIMEOUT_S
from gateway.client.messages import server_url
from gateway.client.sync_client import SyncClient
from gateway.errors import BadSetting
from gateway.server.gc_policy import paused_collections

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
    """The URL of the gateway that the options or the environment name.

    Raises:
        BadSetting: it is not an http or https URL with a valid port.
    """
    server: str = args.server or os.environ.get("RHOPUSH_SERVER") or DEFAULT_SERVER
    try:
        server_url(server)
    except PingError as error:
        raise BadSetting(error.message, field="server") from error
    return server


def token_of(args: argparse.Namespace) -> str:
    """The API token that `--token` gives, else that of the settings or the data folder.

    The modules of the settings are imported only when they are read.

    Raises:
        BadSetting: there is none, or a setting is wrong.
        BadProvider: an installed provider cannot be used.
    """
    if args.token:
        given: str = args.token
        return given
    with paused_collections():
        given_settings = importlib.import_module("gateway.cli.given_settings")
    found: str = given_settings.api_token(args)
    return found


def client_of(args: argparse.Namespace) -> SyncClient:
    """A client of that gateway.

    Raises:
        BadSetting: there is no token, or the server is no URL.
    """
    return SyncClient(server_of(args), token_of(args), args.timeout)


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
    return call_gateway(args, actions[args.action])


def call_gateway(args: argparse.Namespace, action: Action) -> int:
    """Carry out an action, and return its exit status.

    Raises:
        PingError: the gateway cannot be reached, which the text supplements with a hint, or refuses, or a response
            does not have the members that the action needs.
        BadSetting: there is no token.
    """
    client = client_of(args)
    try:
        return action(args, client)
    except (LookupError, TypeError, AttributeError) as error:  # the actions use the members without checks
        where = server_of(args).rpartition("@")[2]
        what = f"has no {error}" if isinstance(error, KeyError) else "has a member of another type"
        raise PingError(
            [f"the response of {where} {what}: it is no gateway, or one of another version"],
            refused_with=HTTPStatus.OK,
        ) from error
    except PingError as error:
        if error.refused_with is not None or error.ping_id is not None:
            raise
        raise PingError(
            [f"{error.message} (start a gateway with `rhopush serve`, or name one with --server)"]
        ) from error


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


def write_list(
    args: argparse.Namespace,
    headings: Sequence[str],
    values: Iterable[Any],
    row: Callable[[Any], Sequence[str]],
    limit: int | None = None,
) -> int:
    """Write a list to stdout: with --json each value on a line, else a table. Return the exit status 0.

    A list that ends at its limit says so on stderr: it looks complete otherwise.

    Args:
        args: the options of `add_action_arguments`.
        headings: of the columns of the table.
        values: the elements of the list, as the gateway answered them.
        row: makes the row of an element.
        limit: most elements that are written; None: all.
    """
    left = iter(values)
    shown = islice(left, limit)
    if args.json:
        for value in shown:
            write_json(value)
    else:
        write_table(headings, [row(value) for value in shown])
    if next(left, None) is not None:
        sys.stdout.flush()
        sys.stderr.write(f"there are more: raise --limit from {limit}\n")
    return 0


def write_json(value: object) -> None:
    """Write a JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(value) + "\n")
