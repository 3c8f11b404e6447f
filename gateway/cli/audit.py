"""Print the audit of a running gateway, the newest record first: changes by operators, logins, and reloads of the
settings.

TIME is RFC 3339 with a zone (2030-01-31T09:30:00Z), or seconds since 1970.

On a terminal the output is a table; elsewhere it has no heading and its columns are separated by tabs. With --json each
record is one JSON object in a line.

Exit status 0: done. 1: the gateway cannot be reached, or refuses the request. 2: wrong usage or a wrong setting.
"""

import argparse
from typing import Any, Final

from gateway.cli.options import count
from gateway.cli.remote import add_action_arguments, call_gateway, pages_of, write_list
from gateway.client.messages import PAGE_MAX
from gateway.client.sync_client import SyncClient

_HEADINGS: Final = ("AT", "WHO", "KIND", "CLIENT", "ACTION", "OUTCOME")
_LIMIT: Final = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush audit`."""
    parser.add_argument("--since", metavar="TIME", help="records from this time on; default: all")
    parser.add_argument("--limit", type=count, default=_LIMIT, metavar="N", help=f"default: {_LIMIT}")
    add_action_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the records.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
        BadSetting: there is no token.
    """
    return call_gateway(args, _list)


def _list(args: argparse.Namespace, client: SyncClient) -> int:
    # One more than is printed: the list says whether there are more.
    wanted = {"since": args.since, "limit": min(args.limit + 1, PAGE_MAX)}
    records = pages_of(client, "/audit", wanted, "records")
    return write_list(args, _HEADINGS, records, _row, args.limit)


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    outcome = record["outcome"]
    if record["omitted"]:
        outcome += f" (and {record['omitted']} refused logins before it)"
    return (record["at"], record["who"], record["kind"], record["client"], record["action"], outcome)
