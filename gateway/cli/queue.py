"""Show the queue of a running gateway, and the entries that no worker could read.

show: the streams, the backlog with its limits, and the deliveries that are parked for each lane. unreadable list: the
records of unreadable entries, the newest first. unreadable show RECORD: one record. unreadable requeue RECORD...:
append the entries to their streams again. unreadable drop RECORD...: remove the records.

On a terminal the output is a table; elsewhere it has no heading and its columns are separated by tabs. With --json, the
gateway's answers are printed, one JSON object a line.

Exit status 0: done. 1: the gateway cannot be reached, refuses the request, does not have the record, or has not stored
its entry. 2: wrong usage or a wrong setting.
"""

import argparse
import sys
from typing import Any, Final

from gateway.cli.remote import (
    ADMIN,
    Action,
    add_action_arguments,
    pages_of,
    run_action,
    write_json,
    write_list,
)
from gateway.cli.table import write_table
from gateway.client.messages import segment
from gateway.client.sync_client import SyncClient

_RECORDS: Final = "/queue/unreadable"
_STREAM_HEADINGS: Final = ("STREAM", "ENTRIES", "PENDING", "OLDEST")
_NUMBER_HEADINGS: Final = ("QUEUE", "NUMBER", "LIMIT")
_RECORD_HEADINGS: Final = ("RECORD", "STREAM", "AT", "BYTES", "PINGS", "REASON")
_NUMBERS: Final = {
    "pings": "queue_pings",
    "bytes": "queue_bytes",
    "scheduled_pings": "scheduled_pings",
    "scheduled_bytes": "scheduled_bytes",
    "retries": "",
    "receipts": "",
    "receipt_bytes": "receipt_bytes",
    "unreadable": "",
    "unreadable_bytes": "",
}
"""The numbers that `show` prints, and the name of the limit of each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush queue`."""
    actions = parser.add_subparsers(dest="action", metavar="show | unreadable", required=True)
    add_action_arguments(actions.add_parser("show", help="streams, backlog, limits and parked deliveries"))
    unreadable = actions.add_parser("unreadable", help="entries that no worker could read")
    records = unreadable.add_subparsers(dest="action", metavar="list | show | requeue | drop", required=True)
    add_action_arguments(records.add_parser("list", help="the records, the newest first"))
    for name, text in (
        ("show", "one record with the fields of its entry"),
        ("requeue", "append the entries to their streams again"),
        ("drop", "remove the records"),
    ):
        action = records.add_parser(name, help=text)
        action.add_argument("records", metavar="RECORD", nargs=1 if name == "show" else "+")
        add_action_arguments(action)


def run(args: argparse.Namespace) -> int:
    """Carry out one action.

    Raises:
        PingError: the gateway cannot be reached, or refuses.
        BadSetting: there is no token.
    """
    return run_action(args, _ON_RECORDS if hasattr(args, "records") else _ACTIONS)


def _show(args: argparse.Namespace, client: SyncClient) -> int:
    queue = client.admin("GET", f"{ADMIN}/queue", {})
    if args.json:
        write_json(queue)
        return 0
    write_table(
        _STREAM_HEADINGS,
        [
            (stream["name"], str(stream["entries"]), str(stream["pending"]), _age(stream["oldest_age_s"]))
            for stream in queue["streams"]
        ],
    )
    limits = queue["limits"]
    rows = [
        (name.replace("_", " "), str(queue[name]), str(limits.get(limit, "")))
        for name, limit in _NUMBERS.items()
    ]
    rows += [(f"parked for {lane}", str(number), "") for lane, number in queue["parked"].items()]
    write_table(_NUMBER_HEADINGS, rows)
    return 0


def _age(age_s: float | None) -> str:
    return "-" if age_s is None else f"{age_s:g}s"


def _list(args: argparse.Namespace, client: SyncClient) -> int:
    return write_list(args, _RECORD_HEADINGS, pages_of(client, _RECORDS, {}, "records"), _row)


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        record["record"],
        record["stream"],
        record["at"] or "-",
        str(record["bytes"]) if record["stored"] else "not stored",
        str(len(record["pings"])),
        record["reason"],
    )


def _show_record(args: argparse.Namespace, client: SyncClient) -> int:
    record = client.admin("GET", _path(args.records[0]), {})
    if args.json:
        write_json(record)
        return 0
    rows = [(name, str(record[name])) for name in ("record", "stream", "entry", "at", "reason", "stored")]
    rows += [("ping", ping_id) for ping_id in record["pings"]]
    rows += [("device", client_id) for client_id in record["clients"]]
    rows += [(f"field {one['name']}", f"{one['bytes']} bytes: {one['base64']}") for one in record["fields"]]
    write_table(("RECORD", "VALUE"), rows)
    return 0


def _requeue(args: argparse.Namespace, client: SyncClient) -> int:
    for record in args.records:
        done = client.admin("POST", f"{_path(record)}/requeue", {})
        if args.json:
            write_json(done)
        else:
            sys.stdout.write(f"requeued {record} as {done['entry']} in {done['stream']}\n")
    return 0


def _drop(args: argparse.Namespace, client: SyncClient) -> int:
    for record in args.records:
        done = client.admin("DELETE", _path(record), {})
        if args.json:
            write_json(done)
        else:
            sys.stdout.write(f"dropped {done['record']}\n")
    return 0


def _path(record: str) -> str:
    return f"{ADMIN}{_RECORDS}/{segment(record)}"


_ACTIONS: Final[dict[str, Action]] = {"show": _show, "list": _list}
_ON_RECORDS: Final[dict[str, Action]] = {"show": _show_record, "requeue": _requeue, "drop": _drop}
