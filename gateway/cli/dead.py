"""List the devices whose push token a provider reported as dead, or restore them.

list: the devices, one per line, in no order; --app, --provider, --reason and --since narrow the list. restore: remove
the marks of the named devices, of all devices that the options select, or of all devices (--all): the next ping is
delivered to them again. If the provider still refuses a token, the device is marked again.

On a terminal the output is a table; elsewhere it has no heading and its columns are separated by tabs. With --json,
list prints one JSON object a line, and restore prints one.

Exit status 0: done. 1: the gateway cannot be reached, or refuses the request. 2: wrong usage or a wrong setting.
"""

import argparse
import sys
from typing import Any, Final

from gateway.cli.options import count
from gateway.cli.remote import (
    ADMIN,
    Action,
    add_action_arguments,
    pages_of,
    run_action,
    write_json,
    write_list,
)
from gateway.client.sync_client import SyncClient
from gateway.errors import BadSetting

_LIMIT: Final = 100
_DEVICES_A_REQUEST: Final = 1_000
_FILTERS: Final = ("app", "provider", "reason", "since")
_HEADINGS: Final = ("DEVICE", "USER", "PROVIDER", "APP", "TOKEN", "REASON", "SINCE", "WHERE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush dead`."""
    actions = parser.add_subparsers(dest="action", metavar="list | restore", required=True)
    listing = actions.add_parser("list", help="devices with dead push tokens")
    listing.add_argument("--limit", type=count, default=_LIMIT, metavar="N", help=f"default: {_LIMIT}")
    restoring = actions.add_parser("restore", help="deliver to these devices again")
    restoring.add_argument("devices", metavar="DEVICE", nargs="*", help="client ids")
    restoring.add_argument("--all", action="store_true", help="every device with a dead push token")
    for action in (listing, restoring):
        action.add_argument("--app", metavar="APP", help="only devices of this app")
        action.add_argument("--provider", metavar="NAME", help="only devices of this provider")
        action.add_argument(
            "--reason", metavar="TEXT", help="only this reason of the provider (Unregistered)"
        )
        action.add_argument(
            "--since", metavar="TIME", help="only marks from this time on (RFC 3339, or seconds)"
        )
        add_action_arguments(action)


def run(args: argparse.Namespace) -> int:
    """List or restore.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
        BadSetting: there is no token, or no device is selected.
    """
    if args.action == "restore" and not (args.devices or args.all or any(_filters(args).values())):
        raise BadSetting("name devices, or give --app, --provider, --reason, --since or --all")
    return run_action(args, _ACTIONS)


def _filters(args: argparse.Namespace) -> dict[str, str | None]:
    return {name: getattr(args, name) for name in _FILTERS}


def _list(args: argparse.Namespace, client: SyncClient) -> int:
    # One more than is printed: the list says whether there are more.
    parameters = {**_filters(args), "limit": min(args.limit + 1, _DEVICES_A_REQUEST)}
    devices = pages_of(client, "/dead", parameters, "devices")
    return write_list(args, _HEADINGS, devices, _row, args.limit)


def _row(device: dict[str, Any]) -> tuple[str, ...]:
    return (
        device["client_id"],
        device["user_id"] or "-",
        device["provider"] or "-",
        device["app"] or "-",
        device["token"],
        device["reason"] or "-",
        device["since"] or "-",
        "everywhere" if device["everywhere"] else "at one host",
    )


def _restore(args: argparse.Namespace, client: SyncClient) -> int:
    wanted: dict[str, Any] = _filters(args)
    restored = 0
    if args.devices:
        for start in range(0, len(args.devices), _DEVICES_A_REQUEST):
            part = args.devices[start : start + _DEVICES_A_REQUEST]
            restored += client.admin("POST", f"{ADMIN}/dead/restore", {**wanted, "devices": part})["restored"]
    else:
        wanted["all"] = args.all or None
        cursor: str | None = None
        while True:
            answer = client.admin("POST", f"{ADMIN}/dead/restore", {**wanted, "cursor": cursor})
            restored += answer["restored"]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
    if args.json:
        write_json({"restored": restored})
    else:
        sys.stdout.write(f"devices restored: {restored}\n")
    return 0


_ACTIONS: Final[dict[str, Action]] = {"list": _list, "restore": _restore}
