"""List the devices of a user, or explain a ping to users without sending it.

`rhopush devices USER` asks a running gateway, and prints a line for each device of the user: its lane, or the reason
why no ping reaches it. `rhopush devices explain USER...` prints a line for each device: how the ping that the options
describe would reach it, or why it would not.

On a terminal the list of devices is a table; elsewhere it has no heading and its columns are separated by tabs. With
--json, the gateway's answer is printed.

Exit status 0: pings reach at least one device. 1: they reach none, there is no such user, or the gateway refuses or
cannot be reached. 2: wrong usage or a wrong setting.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from gateway.cli.options import number
from gateway.cli.recipients import (
    OPTIONS,
    add_recipient_arguments,
    badge,
    names_somebody,
    recipients_of,
)
from gateway.cli.remote import ADMIN, Action, add_action_arguments, run_action, write_json
from gateway.cli.table import write_table
from gateway.client.sync_client import SyncClient
from gateway.errors import BadSetting

_PARAMETERS: Final = (
    "user_id",
    "message",
    "title",
    "sources",
    "badge",
    "sound",
    "vibrate",
    "ttl_s",
    "priority",
    "collapse_id",
    "validate",
)
_HEADINGS: Final = ("DEVICE", "PROVIDER", "APP", "TOKEN", "LANE", "REGISTERED", "RESULT")
_EXPLAIN_HEADINGS: Final = ("USER", "DEVICE", "PROVIDER", "APP", "TOKEN", "RESULT")
_EXPLAIN: Final = "explain"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush devices`."""
    parser.add_argument(
        "words",
        metavar="USER",
        nargs="+",
        help="a login; `explain` and logins: what a ping would do; sends nothing",
    )
    ping = parser.add_argument_group("the ping of `explain`")
    add_recipient_arguments(ping)
    ping.add_argument("--message", metavar="TEXT")
    ping.add_argument("--title", metavar="TEXT")
    ping.add_argument("--sources", metavar="A,B|all", help="sources that the apps synchronise")
    ping.add_argument("--badge", type=badge, metavar="N|+1")
    ping.add_argument("--sound", metavar="FILE")
    ping.add_argument("--vibrate", type=number, metavar="MS")
    ping.add_argument("--ttl", dest="ttl_s", type=number, metavar="S")
    ping.add_argument("--priority", choices=("high", "normal"))
    ping.add_argument("--collapse-id", metavar="ID")
    ping.add_argument(
        "--validate", action="store_true", default=None, help="let FCM check each message (validate_only)"
    )
    add_action_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and print; 0 if pings reach a device.

    Raises:
        PingError: the gateway refuses, or cannot be reached.
        BadSetting: there is no token, or the words name no user, or several where one is expected.
    """
    first, *users = args.words
    args.action = _EXPLAIN if first == _EXPLAIN else "list"
    if args.action == _EXPLAIN:
        if not users and not names_somebody(recipients_of(args)):
            raise BadSetting(
                "explain needs a user, --all-users, --device or --push-token (user_id)", field="user_id"
            )
        args.user_id = users
    else:
        if users:
            raise BadSetting("name one user, or `explain` and users", field="user_id")
        described = [name for name in (*_PARAMETERS[1:], *OPTIONS) if getattr(args, name) is not None]
        if described:
            raise BadSetting(f"{described[0]} describes a ping: it needs `explain`", field=described[0])
        args.user_id = first
    return run_action(args, _ACTIONS)


def _explain(args: argparse.Namespace, client: SyncClient) -> int:
    parameters = {name: getattr(args, name) for name in _PARAMETERS} | {"to": recipients_of(args)}
    answer = client.explain(parameters)
    if args.json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        write_explanation(answer)
    return 0 if answer["totals"]["devices"] else 1


def _list(args: argparse.Namespace, client: SyncClient) -> int:
    answer = client.admin("GET", f"{ADMIN}/devices", {"user_id": args.user_id})
    devices = answer["devices"]
    if args.json:
        write_json(answer)
    else:
        write_table(_HEADINGS, [_row(device) for device in devices])
    return 0 if any(device["reachable"] for device in devices) else 1


def _row(device: dict[str, Any]) -> tuple[str, ...]:
    text = device["text"] or "reachable"
    if device["reason"]:
        text = f"{device['reason']}: {text}"
    return (
        device["client_id"],
        device["provider"] or "-",
        device["app"] or "-",
        device["token"] or "-",
        device["lane"] or "-",
        device["registered"] or "-",
        text,
    )


_ACTIONS: Final[dict[str, Action]] = {_EXPLAIN: _explain, "list": _list}


def write_explanation(answer: dict[str, Any]) -> None:
    """Write a row for each device and for each user that does not exist, and the totals, which are no row, to
    stderr."""
    rows: list[Sequence[str]] = [(*_identity(row), _recipient(row)) for row in answer["devices"]]
    rows += [(*_identity(row), f"left out, {row['reason']}: {row['text']}") for row in answer["left_out"]]
    rows += [(user, "-", "-", "-", "-", "no such user, or no client") for user in answer["unknown_users"]]
    write_table(_EXPLAIN_HEADINGS, rows)
    sys.stdout.flush()  # on a terminal, the totals follow the table
    totals = answer["totals"]
    sys.stderr.write(
        f"devices that would get the ping: {totals['devices']}, left out: {totals['left_out']}\n"
    )


def _identity(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] or "-" for name in ("user_id", "client_id", "provider", "app", "token"))


def _recipient(row: dict[str, Any]) -> str:
    text = f"{row['bytes']} bytes over {row['lane']}"
    if row["host"]:
        text += f" to {row['host']}"
    validation = row.get("validation")
    if validation is not None:
        text += f"; validation: {validation['verdict']} {validation['reason']}".rstrip()
    return f"{text}; {row['note']}" if "note" in row else text
