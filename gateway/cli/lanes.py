"""List the lanes of all workers of all gateways, or close the circuit breaker of one.

list: each lane with its states, with the deliveries that wait for it, and with the reason why it cannot send. The
numbers are some seconds old. reset LANE: close the circuit breaker of this lane in every worker, within about a second;
if the provider still refuses the credential, the breaker opens again.

On a terminal the output is a table; elsewhere it has no heading and its columns are separated by tabs. With --json,
list prints one JSON object a line, and reset prints one.

Exit status 0: done. 1: the gateway cannot be reached, refuses the request, or no worker has the lane. 2: wrong usage or
a wrong setting.
"""

import argparse
import sys
from typing import Any, Final

from gateway.cli.remote import ADMIN, Action, add_action_arguments, run_action, write_json, write_list
from gateway.client.messages import segment
from gateway.client.sync_client import SyncClient

_HEADINGS: Final = (
    "LANE",
    "HOST",
    "LINK",
    "BREAKER",
    "THROTTLE",
    "WAITING",
    "IN FLIGHT",
    "PARKED",
    "WORKERS",
    "REASON",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush lanes`."""
    actions = parser.add_subparsers(dest="action", metavar="list | reset", required=True)
    add_action_arguments(actions.add_parser("list", help="the lanes of all gateways"))
    reset = actions.add_parser("reset", help="close the circuit breaker of a lane")
    reset.add_argument("lane", metavar="LANE")
    add_action_arguments(reset)


def run(args: argparse.Namespace) -> int:
    """List or reset.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
        BadSetting: there is no token.
    """
    return run_action(args, _ACTIONS)


def _list(args: argparse.Namespace, client: SyncClient) -> int:
    return write_list(args, _HEADINGS, client.admin("GET", f"{ADMIN}/lanes", {})["lanes"], _row)


def _row(lane: dict[str, Any]) -> tuple[str, ...]:
    return (
        lane["name"],
        lane["host"] or "-",
        lane["link"],
        lane["breaker"],
        lane["throttle"],
        str(lane["backlog"]),
        str(lane["in_flight"]),
        str(lane["parked"]),
        str(len(lane["workers"])),
        lane["reason"] or "-",
    )


def _reset(args: argparse.Namespace, client: SyncClient) -> int:
    done = client.admin("POST", f"{ADMIN}/lanes/{segment(args.lane)}/reset", {})
    if args.json:
        write_json(done)
    else:
        sys.stdout.write(
            f"closing the breaker of {done['lane']}; workers with this lane: {done['workers']}\n"
        )
    return 0


_ACTIONS: Final[dict[str, Action]] = {"list": _list, "reset": _reset}
