"""Run the gateway: a supervisor and its workers, until SIGTERM or Ctrl-C.

Prints `ready http://HOST:PORT` alone on a line once every ingress is open; logs go to stderr.
"""

import argparse

from gateway.cli.given_settings import load_settings
from gateway.cli.options import add_settings_arguments, count, port
from gateway.logs.plain import PlainLog
from gateway.server.file_permissions import exposed
from gateway.server.reload import SettingsReloader
from gateway.server.supervisor import ServerOptions, Supervisor
from gateway.settings import DEFAULT_PATH


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush serve`."""
    add_settings_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=port, default=9292, help="port to listen on; 0: any free port (default: %(default)s)"
    )
    parser.add_argument("--workers", type=count, default=1, help="worker processes (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Serve; returns the exit status.

    Raises:
        RhoPushError: a setting is invalid, the folder is in use, or the address cannot be bound.
    """
    settings = load_settings(args)
    reloader = SettingsReloader(args.settings or DEFAULT_PATH, lambda: load_settings(args), settings)
    log = PlainLog("settings", level=settings.log_level)
    for warning in (*settings.warnings, *exposed(settings)):
        log.warning("settings_warning", text=warning)
    return Supervisor(
        settings, ServerOptions(host=args.host, port=args.port, workers=args.workers), reloader
    ).run()
