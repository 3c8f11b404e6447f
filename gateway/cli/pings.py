"""List the pings of a running gateway, or show one.

list: the newest first, one a line. show ID: the receipt of one ping, with the verdict on each device.

On a terminal the output is a table; elsewhere it has no heading and its columns are separated by tabs. With --json,
list prints one JSON object a line, and show prints one.

Exit status 0: done. 1: the gateway cannot be reached, refuses the request, or does not know the ping. 2: wrong usage or
a wrong setting.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

from gateway.cli.options import count
from gateway.cli.remote import add_gateway_arguments, client_of, with_hint
from gateway.cli.table import write_table
from gateway.client.messages import PAGE_MAX
from gateway.client.sync_client import SyncClient

_TIMEOUT_S: Final = 30.0
_LIMIT: Final = 50
_STATES: Final = ("queued", "open", "done")
_HEADINGS: Final = ("PING", "STATE", "ACCEPTED AT", "INGRESS", "VERDICTS")
_DEVICE_HEADINGS: Final = ("DEVICE", "PROVIDER", "VERDICT", "REASON")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rhopush pings`."""
    actions = parser.add_subparsers(dest="action", metavar="list | show", required=True)
    listing = actions.add_parser("list", help="pings, the newest first")
    listing.add_argument("--state", choices=_STATES, help="only pings in this state")
    listing.add_argument("--limit", type=count, default=_LIMIT, metavar="N", help=f"default: {_LIMIT}")
    showing = actions.add_parser("show", help="the receipt of one ping")
    showing.add_argument("ping_id", metavar="ID")
    for action in (listing, showing):
        action.add_argument("--json", action="store_true", help="JSON instead of a table")
        add_gateway_arguments(action)


def run(args: argparse.Namespace) -> int:
    """List or show.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
        BadSetting: there is no token.
    """
    client = client_of(args)
    with with_hint():
        (_list if args.action == "list" else _show)(args, client)
    return 0


def _list(args: argparse.Namespace, client: SyncClient) -> None:
    pings = _pings(client, args.state, args.limit)
    if args.json:
        sys.stdout.writelines(json.dumps(ping) + "\n" for ping in pings)
        return
    rows = [
        (
            ping["ping_id"],
            ping["state"],
            ping["accepted_at"] or "",
            ping["ingress"] or "",
            _counted(ping["counts"]),
        )
        for ping in pings
    ]
    write_table(_HEADINGS, rows)


def _pings(client: SyncClient, state: str | None, limit: int) -> Iterator[dict[str, Any]]:
    """At most `limit` pings, page by page. A page may hold fewer than it could, and still not be the last."""
    cursor: str | None = None
    left = limit
    while left > 0:
        wanted = {"limit": min(left, PAGE_MAX), "state": state, "cursor": cursor}
        page = client.pings(urlencode({name: value for name, value in wanted.items() if value is not None}))
        yield from page["pings"]
        left -= len(page["pings"])
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _show(args: argparse.Namespace, client: SyncClient) -> None:
    report = client.report(args.ping_id)
    if args.json:
        sys.stdout.write(json.dumps(report) + "\n")
        return
    sys.stdout.write(
        f"ping {report['ping_id']}  {report['state']}  {_counted(report['counts'])}".rstrip() + "\n"
    )
    sys.stdout.writelines(
        f"skipped {number}: {reason}\n" for reason, number in report.get("skipped", {}).items()
    )
    rows = [
        (device["client_id"], device["provider"], device["verdict"], device.get("reason", ""))
        for device in report.get("devices", ())
    ]
    write_table(_DEVICE_HEADINGS, rows)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
