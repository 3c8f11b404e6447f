"""List the webhook endpoints of a running gateway, deliver events again, or send a test message.

list: one endpoint per line, with its state. replay NAME --since TIME: deliver the events since then again, as far as
the gateway stores them. test NAME: send one signed message of the type webhook.test; a success enables an endpoint that
is disabled.

On a terminal the output is a table; elsewhere it has no heading and its columns are separated by tabs. With --json,
list prints one JSON object a line, and the others print one.

Exit status 0: done. 1: the gateway cannot be reached, refuses the request, or does not have the endpoint; for test
also: the endpoint did not accept the message. 2: wrong usage or a wrong setting.
"""

import argparse
import sys
from typing import Any, Final

from gateway.cli.remote import ADMIN, Action, add_action_arguments, run_action, write_json, write_list
from gateway.client.messages import segment
from gateway.client.sync_client import SyncClient

_PATH: Final = f"{ADMIN}/webhooks"
_HEADINGS: Final = ("WEBHOOK", "STATE", "OLDEST", "DELIVERED", "FAILED", "LOST", "URL", "EVENTS", "ERROR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush webhooks`."""
    actions = parser.add_subparsers(dest="action", metavar="list | replay | test", required=True)
    add_action_arguments(actions.add_parser("list", help="the endpoints and their states"))
    replay = actions.add_parser("replay", help="deliver events again")
    replay.add_argument("name", metavar="NAME")
    replay.add_argument(
        "--since", required=True, metavar="TIME", help="2026-12-01T12:00:00Z, or seconds since 1970"
    )
    add_action_arguments(replay)
    test = actions.add_parser("test", help="send a test message")
    test.add_argument("name", metavar="NAME")
    add_action_arguments(test)


def run(args: argparse.Namespace) -> int:
    """List, replay or test.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
        BadSetting: there is no token.
    """
    return run_action(args, _ACTIONS)


def _list(args: argparse.Namespace, client: SyncClient) -> int:
    return write_list(args, _HEADINGS, client.admin("GET", _PATH, {})["webhooks"], _row)


def _row(endpoint: dict[str, Any]) -> tuple[str, ...]:
    return (
        endpoint["name"],
        endpoint["state"],
        f"{endpoint['oldest_age_s']} s",
        *(str(endpoint[count]) for count in ("delivered", "failed", "lost")),
        endpoint["url"],
        ",".join(endpoint["events"]),
        endpoint["error"] or "",
    )


def _replay(args: argparse.Namespace, client: SyncClient) -> int:
    found = client.admin("POST", f"{_PATH}/{segment(args.name)}/replay", {"since": args.since})
    if args.json:
        write_json(found)
        return 0
    stored = f"the oldest stored event is from {found['oldest']}" if found["oldest"] else "no event is stored"
    sys.stdout.write(f"{found['endpoint']} receives the events since {found['since']} again; {stored}\n")
    if found.get("state") == "disabled":  # a gateway of an earlier version does not report the state
        sys.stdout.write(f"it is disabled: `rhopush webhooks test {found['endpoint']}` enables it\n")
    return 0


def _test(args: argparse.Namespace, client: SyncClient) -> int:
    found = client.admin("POST", f"{_PATH}/{segment(args.name)}/test", {})
    if args.json:
        write_json(found)
    else:
        status = "" if found["status"] is None else f" (status {found['status']})"
        error = f": {found['error']}" if found["error"] else ""
        sys.stdout.write(f"{found['endpoint']} {found['result']}{status} {found['id']}{error}\n")
    return 0 if found["result"] == "delivered" else 1


_ACTIONS: Final[dict[str, Action]] = {"list": _list, "replay": _replay, "test": _test}
