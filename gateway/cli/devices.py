"""Explain a ping to users without sending it.

`rhopush devices explain USER...` asks a running gateway, and prints a line for each device: how the ping would reach
it, or why it would not. Exit status 0: the ping would reach at least one device; 1: it would reach none, or the gateway
refuses or cannot be reached; 2: wrong usage or a wrong setting.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from gateway.cli.recipients import add_recipient_arguments, badge, names_somebody, recipients_of
from gateway.cli.remote import add_gateway_arguments, client_of, server_of
from gateway.client.errors import PingError
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
_HEAD: Final = ("user", "client", "provider", "app", "token", "result")
_GAP: Final = "  "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rhopush devices`."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="explain")
    explain = commands.add_parser("explain", description=__doc__, help="what a ping would do; sends nothing")
    explain.add_argument("user_id", metavar="USER", nargs="*")
    add_recipient_arguments(explain)
    explain.add_argument("--message", metavar="TEXT")
    explain.add_argument("--title", metavar="TEXT")
    explain.add_argument("--sources", metavar="A,B|all", help="what the apps are to synchronise")
    explain.add_argument("--badge", type=badge, metavar="N|+1")
    explain.add_argument("--sound", metavar="FILE")
    explain.add_argument("--vibrate", type=int, metavar="MS")
    explain.add_argument("--ttl", dest="ttl_s", type=int, metavar="S")
    explain.add_argument("--priority", choices=("high", "normal"))
    explain.add_argument("--collapse-id", metavar="ID")
    explain.add_argument(
        "--validate", action="store_true", default=None, help="let FCM check each message (validate_only)"
    )
    explain.add_argument("--json", action="store_true", help="print the gateway's answer")
    add_gateway_arguments(explain)


def run(args: argparse.Namespace) -> int:
    """Ask and print; 0 if the ping would reach a device.

    Raises:
        PingError: the gateway refuses, or cannot be reached.
        BadSetting: there is no token, or no recipient.
    """
    try:
        asked = {name: getattr(args, name) for name in _PARAMETERS} | {"to": recipients_of(args)}
        if not args.user_id and not names_somebody(asked["to"]):
            raise BadSetting("a USER, --all-users or --device is required", field="user")
        answer = client_of(args).explain(asked)
    except PingError as error:
        if error.refused_with is None:
            hint = f"is `rhopush serve` running at {server_of(args)}? --server names another gateway"
            raise PingError([f"{error.message} ({hint})"]) from error
        raise
    sys.stdout.write(json.dumps(answer, indent=2) + "\n" if args.json else table(answer))
    return 0 if answer["totals"]["devices"] else 1


def table(answer: dict[str, Any]) -> str:
    """A line for each device and for each user that does not exist, and the totals."""
    rows: list[Sequence[str]] = [_HEAD]
    rows += [(*_identity(row), _recipient(row)) for row in answer["devices"]]
    rows += [(*_identity(row), f"left out, {row['reason']}: {row['text']}") for row in answer["left_out"]]
    rows += [(user, "-", "-", "-", "-", "no such user, or no client") for user in answer["unknown_users"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    lines = [
        _GAP.join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]
    totals = answer["totals"]
    lines.append(f"{totals['devices']} devices would get it, {totals['left_out']} are left out")
    return "\n".join(lines) + "\n"


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
