"""Send pings through a gateway.

One ping (--user): prints its id, or with --wait its verdict on each device. The pings of a file (--file), one a line as
newline-delimited JSON: prints how many were accepted, and each line that was refused.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Final

from gateway.cli.options import add_settings_arguments, load_settings
from gateway.cli.ping_file import send_file
from gateway.client.job import DEFAULT_SERVER, DEFAULT_TIMEOUT_S, PingJob
from gateway.client.messages import failures
from gateway.client.sync_client import SyncClient
from gateway.errors import BadSetting
from gateway.system.private_files import read_secret

_NOT_PARAMETERS: Final = frozenset({"settings", "env", "wait", "server", "token", "timeout", "file"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rhopush ping`."""
    pings = parser.add_mutually_exclusive_group(required=True)
    pings.add_argument("--user", dest="user_id", metavar="NAME", nargs="+", action="extend")
    pings.add_argument("--file", metavar="FILE", help="pings, one a line as JSON; - is standard input")
    parser.add_argument("--message", metavar="TEXT")
    parser.add_argument("--sources", metavar="A,B|all", help="what the apps are to synchronise")
    parser.add_argument("--badge", type=int, metavar="N")
    parser.add_argument("--sound", metavar="FILE")
    parser.add_argument("--vibrate", type=int, metavar="MS")
    parser.add_argument(
        "--at",
        dest="deliver_at",
        metavar="TIME",
        help="deliver later: 2030-01-31T09:30:00Z, or epoch seconds",
    )
    parser.add_argument("--wait", action="store_true", help="until every device has its verdict")
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, metavar="S")
    parser.add_argument("--server", metavar="URL", help=f"default: $RHOPUSH_SERVER or {DEFAULT_SERVER}")
    parser.add_argument("--token", help="default: $API_TOKEN, the settings', or the data folder's")
    add_settings_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Send them; 0 if all were accepted, and with --wait only if every device got it.

    Raises:
        PingError: a ping was not accepted, or not finished in time.
        BadSetting: there is no token, or --file beside an option of one ping, or the file cannot be read.
    """
    server = args.server or os.environ.get("RHOPUSH_SERVER") or DEFAULT_SERVER
    parameters = {name: value for name, value in vars(args).items() if name not in _NOT_PARAMETERS}
    if args.file is not None:
        if args.wait or any(value is not None for value in parameters.values()):
            raise BadSetting("with --file, a ping's parameters stand in its line", field="file")
        PingJob.configure(server=server, token=args.token or _own_token(args), timeout_s=args.timeout)
        return send_file(args.file)
    client = SyncClient(server, args.token or _own_token(args), args.timeout)
    if not args.wait:
        sys.stdout.write(client.send(parameters) + "\n")
        return 0
    report = client.deliver(parameters)
    sys.stdout.write(_table(report))
    return 1 if failures(report) else 0


def _own_token(args: argparse.Namespace) -> str:
    """The token of the gateway whose settings these are."""
    settings = load_settings(args)
    if settings.api_token is not None:
        return settings.api_token.reveal()
    file: Path = settings.data_dir / "api_token"
    try:
        kept = read_secret(file)
    except OSError as error:
        raise _no_token(file) from error
    if kept is None:
        raise _no_token(file)
    return kept.decode("utf-8", "replace").strip()


def _no_token(file: Path) -> BadSetting:
    return BadSetting(f"no API token: give --token or API_TOKEN, or run where {file} is", field="api_token")


def _table(report: dict[str, Any]) -> str:
    """The ping's id, a line for each device and one for each reason of not being tried."""
    lines = [f"ping {report['ping_id']}"]
    lines += [
        f"  {device['client_id']}  {device['verdict']}  {device.get('reason', '')}".rstrip()
        for device in report.get("devices", ())
    ]
    lines += [f"  skipped {number}: {reason}" for reason, number in report.get("skipped", {}).items()]
    if len(lines) == 1:
        lines.append("  no device")
    return "\n".join(lines) + "\n"
