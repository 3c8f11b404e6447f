"""Send pings to a gateway.

With --user, --all-users, --device or --push-token: send one ping, and print its id, or with --wait the verdict of each
device. With --file: send the pings of a file, one per line as newline-delimited JSON, and print the number of accepted
pings and each refused line.
"""

import argparse
import sys
from typing import Any, Final

from gateway.cli.options import number
from gateway.cli.ping_file import send_file
from gateway.cli.recipients import (
    OPTIONS,
    add_recipient_arguments,
    badge,
    names_somebody,
    recipients_of,
)
from gateway.cli.remote import add_gateway_arguments, call_gateway, server_of, token_of
from gateway.client.errors import PingError
from gateway.client.job import PingJob
from gateway.client.messages import failures
from gateway.client.sync_client import SyncClient
from gateway.errors import BadSetting
from gateway.logs.terminal import printable

_NOT_PARAMETERS: Final = frozenset(
    {"settings", "env", "wait", "server", "token", "timeout", "file", *OPTIONS}
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush ping`."""
    parser.add_argument("--user", dest="user_id", metavar="NAME", nargs="+", action="extend")
    parser.add_argument(
        "--file", metavar="FILE", help="file of pings, one per line as JSON; - is standard input"
    )
    add_recipient_arguments(parser)
    parser.add_argument("--message", metavar="TEXT")
    parser.add_argument("--sources", metavar="A,B|all", help="sources that the apps synchronise")
    parser.add_argument("--badge", type=badge, metavar="N|+1")
    parser.add_argument("--sound", metavar="FILE")
    parser.add_argument("--vibrate", type=number, metavar="MS")
    parser.add_argument(
        "--at",
        dest="deliver_at",
        metavar="TIME",
        help="deliver later: 2030-01-31T09:30:00Z, or epoch seconds",
    )
    parser.add_argument("--wait", action="store_true", help="wait until every device has its verdict")
    add_gateway_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Send the pings; returns 0 if all were accepted, and with --wait only if every device was reached.

    Raises:
        PingError: a ping was not accepted, or not finished in time.
        BadSetting: there is no token, no recipient, --file is combined with an option of one ping, or the file cannot
            be read.
    """
    parameters = {name: value for name, value in vars(args).items() if name not in _NOT_PARAMETERS}
    parameters["to"] = recipients_of(args)
    if args.file is not None:
        if args.wait or any(value is not None for value in parameters.values()):
            raise BadSetting(
                "with --file, the lines of the file contain the parameters of the pings", field="file"
            )
        PingJob.configure(server=server_of(args), token=token_of(args), timeout_s=args.timeout)
        return send_file(args.file)
    if args.user_id is None and not names_somebody(parameters["to"]):
        raise BadSetting(
            "one of --user, --all-users, --device, --push-token and --file is required", field="user"
        )
    return call_gateway(args, lambda _, client: _send(client, parameters, wait=args.wait))


def _send(client: SyncClient, parameters: dict[str, Any], *, wait: bool) -> int:
    if not wait:
        sys.stdout.write(client.send(parameters) + "\n")
        return 0
    try:
        report = client.deliver(parameters)
    except PingError as error:
        if error.ping_id:  # the ping is accepted, or possibly accepted: its receipt can be read
            sys.stdout.write(f"ping {error.ping_id}\n")
        raise
    sys.stdout.write(_table(report))
    return 1 if failures(report) else 0


def _table(report: dict[str, Any]) -> str:
    """Return the ping's id, a line for each listed device, and the numbers of the others: devices that accepted a
    broadcast, and skipped devices by their reason."""
    lines = [f"ping {report['ping_id']}"]
    devices = report.get("devices", ())
    lines += [
        f"  {device['client_id']}  {device['verdict']}  {device.get('reason', '')}".rstrip()
        for device in devices
    ]
    listed = sum(device["verdict"] == "accepted" for device in devices)
    unlisted = report.get("counts", {}).get("accepted", 0) - listed
    if unlisted > 0:
        lines.append(f"  accepted {unlisted}: the receipt of a broadcast lists only the others")
    lines += [f"  skipped {number}: {reason}" for reason, number in report.get("skipped", {}).items()]
    if len(lines) == 1:
        lines.append("  no device")
    return "\n".join(map(printable, lines)) + "\n"
