"""List the pings of a running gateway, show one, or cancel one.

list: the pings, one per line, the newest first. show ID: the receipt of one ping, with the verdict of each device.
cancel ID: cancel the ping; devices to which no request has begun get no push.

On a terminal the output is a table; elsewhere it has no heading and its columns are separated by tabs. With --json,
list prints one JSON object a line; show and cancel print one.

Exit status 0: done. 1: the gateway cannot be reached, refuses the request, does not know the ping, or the ping to be
cancelled is finished. 2: wrong usage or a wrong setting.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any, Final

from gateway.cli.options import count
from gateway.cli.remote import Action, add_action_arguments, run_action, write_json, write_list
from gateway.cli.table import write_table
from gateway.client.messages import PAGE_MAX
from gateway.client.sync_client import SyncClient

_LIMIT: Final = 50
_STATES: Final = ("scheduled", "queued", "open", "done", "cancelled")
_HEADINGS: Final = ("PING", "STATE", "ACCEPTED AT", "INGRESS", "VERDICTS", "DELIVER AT")
_DEVICE_HEADINGS: Final = ("DEVICE", "PROVIDER", "VERDICT", "REASON")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush pings`."""
    actions = parser.add_subparsers(dest="action", metavar="list | show | cancel", required=True)
    listing = actions.add_parser("list", help="pings, the newest first")
    listing.add_argument("--state", choices=_STATES, help="only pings in this state")
    listing.add_argument("--limit", type=count, default=_LIMIT, metavar="N", help=f"default: {_LIMIT}")
    showing = actions.add_parser("show", help="the receipt of one ping")
    cancelling = actions.add_parser("cancel", help="cancel one ping")
    for action in (showing, cancelling):
        action.add_argument("ping_id", metavar="ID")
    for action in (listing, showing, cancelling):
        add_action_arguments(action)


def run(args: argparse.Namespace) -> int:
    """List, show or cancel.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
        BadSetting: there is no token.
    """
    return run_action(args, _ACTIONS)


def _list(args: argparse.Namespace, client: SyncClient) -> int:
    return write_list(args, _HEADINGS, _pings(client, args.state, args.limit), _row, args.limit)


def _row(ping: dict[str, Any]) -> tuple[str, ...]:
    return (
        ping["ping_id"],
        ping["state"],
        ping["accepted_at"] or "",
        ping["ingress"] or "",
        _counted(ping["counts"]),
        ping.get("deliver_at", ""),
    )


def _pings(client: SyncClient, state: str | None, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the pings, page by page. A page may hold fewer than it could, and still not be the last.

    Args:
        client: the client.
        state: only pings in this state; None: all.
        limit: number of pings that are printed. A page has one more: the list says whether there are more.
    """
    cursor: str | None = None
    while True:
        page = client.pings({"limit": min(limit + 1, PAGE_MAX), "state": state, "cursor": cursor})
        yield from page["pings"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _show(args: argparse.Namespace, client: SyncClient) -> int:
    report = client.report(args.ping_id)
    if args.json:
        write_json(report)
        return 0
    sys.stdout.write(
        f"ping {report['ping_id']}  {report['state']}  {_counted(report['counts'])}".rstrip() + "\n"
    )
    if "deliver_at" in report:
        sys.stdout.write(f"deliver at {report['deliver_at']}\n")
    sys.stdout.writelines(
        f"skipped {number}: {reason}\n" for reason, number in report.get("skipped", {}).items()
    )
    rows = [
        (device["client_id"], device["provider"], device["verdict"], device.get("reason", ""))
        for device in report.get("devices", ())
    ]
    write_table(_DEVICE_HEADINGS, rows)
    return 0


def _cancel(args: argparse.Namespace, client: SyncClient) -> int:
    found = client.cancel(args.ping_id)
    if args.json:
        write_json(found)
        return 0
    more = "deliveries in flight keep their verdicts" if found["state"] == "open" else "finished"
    sys.stdout.write(f"ping {found['ping_id']} is cancelled; {more}\n")
    return 0


_ACTIONS: Final[dict[str, Action]] = {"list": _list, "show": _show, "cancel": _cancel}


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
