"""Named API tokens of a running gateway: create, list, revoke.

create NAME: prints the token, this once. list: one line for each token. revoke NAME: every worker refuses the token
within 3 seconds.

TIME is RFC 3339 with a zone (2030-01-31T09:30:00Z), seconds since 1970, or a number of days from now (90d).

On a terminal the output is a table; elsewhere it has no heading and its columns are separated by tabs. With --json,
list prints one JSON object a line, and the others print one.

Exit status 0: done. 1: the gateway cannot be reached, or refuses the request. 2: wrong usage or a wrong setting.
"""

import argparse
import re
import sys
import time
from typing import Any, Final

from gateway.cli.remote import ADMIN, Action, add_action_arguments, run_action, write_json, write_list
from gateway.client.messages import segment
from gateway.client.sync_client import SyncClient
from gateway.registry.scopes import Scope

_PATH: Final = f"{ADMIN}/tokens"
_HEADINGS: Final = ("NAME", "SCOPES", "APPS", "CREATED AT", "CREATED BY", "EXPIRES AT", "LAST USED AT")
_DAYS: Final = re.compile(r"([1-9][0-9]{0,4})d")
_DAY_S: Final = 86_400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush tokens`."""
    actions = parser.add_subparsers(dest="action", metavar="create | list | revoke", required=True)
    creating = actions.add_parser("create", help="create a token, and print it")
    creating.add_argument("name", metavar="NAME")
    creating.add_argument(
        "--scope",
        dest="scopes",
        action="extend",
        nargs="+",
        required=True,
        choices=[scope.value for scope in Scope],
        metavar="SCOPE",
        help=", ".join(Scope),
    )
    creating.add_argument(
        "--app",
        dest="apps",
        action="append",
        metavar="A",
        help="limit the token to this app; may be repeated; default: all apps",
    )
    creating.add_argument("--expires", type=expiry, metavar="TIME", help="default: never")
    listing = actions.add_parser("list", help="the tokens, without their texts")
    revoking = actions.add_parser("revoke", help="revoke a token")
    revoking.add_argument("name", metavar="NAME")
    for action in (creating, listing, revoking):
        add_action_arguments(action)


def expiry(text: str) -> str:
    """Parse an expiry: a number of days becomes epoch seconds; the gateway parses every other form.

    Raises:
        argparse.ArgumentTypeError: the number of days is not whole, or out of range.
    """
    days = _DAYS.fullmatch(text)
    if days is None and text.endswith("d"):  # the gateway's error would not name the form of days
        raise argparse.ArgumentTypeError("expected a number of days from 1d to 99999d, or a time")
    return text if days is None else str(int(time.time()) + int(days[1]) * _DAY_S)


def run(args: argparse.Namespace) -> int:
    """Create, list or revoke.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
        BadSetting: there is no token.
    """
    return run_action(args, _ACTIONS)


def _create(args: argparse.Namespace, client: SyncClient) -> int:
    wanted = {"name": args.name, "scopes": args.scopes, "apps": args.apps, "expires_at": args.expires}
    answer = client.admin("POST", _PATH, wanted)
    if args.json:
        write_json(answer)
    else:
        token = answer["token"]
        sys.stderr.write("The token is shown only now: the gateway stores nothing but its digest.\n")
        sys.stdout.write(f"{token}\n")
    return 0


def _list(args: argparse.Namespace, client: SyncClient) -> int:
    return write_list(args, _HEADINGS, client.admin("GET", _PATH, {})["tokens"], _row)


def _revoke(args: argparse.Namespace, client: SyncClient) -> int:
    answer = client.admin("DELETE", f"{_PATH}/{segment(args.name)}", {})
    if args.json:
        write_json(answer)
    else:
        sys.stdout.write(f"revoked {answer['revoked']}\n")
    return 0


_ACTIONS: Final[dict[str, Action]] = {"create": _create, "list": _list, "revoke": _revoke}


def _row(token: dict[str, Any]) -> tuple[str, ...]:
    expires = token["expires_at"] or "never"
    return (
        token["name"],
        ",".join(token["scopes"]),
        "all" if token["apps"] is None else ",".join(token["apps"]),
        token["created_at"] or "",
        token["created_by"],
        f"{expires} (expired)" if token["expired"] else expires,
        token["last_used_at"] or "never",
    )
