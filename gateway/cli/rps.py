"""Run the RhoConnect Push service alone, as a replacement of rhoconnect-push: its config.json, its options, its Redis.

Prints `ready http://HOST:PORT` alone on a line once it serves; logs go to stderr. With --config, the options of the
second group are ignored, as in rhoconnect-push.
"""

import argparse
import os
from pathlib import Path
from typing import Final

from gateway.cli.options import count, port
from gateway.logs.plain import PlainLog
from gateway.server.supervisor import ServerOptions, Supervisor
from gateway.settings.rhoconnect_push import LINE_DEFAULTS, read_config, translate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush rps`."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="rhoconnect-push's config.json")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")
    parser.add_argument("--workers", type=count, default=1, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path("data/rps"),
        metavar="DIR",
        help="folder of the lock files (default: %(default)s)",
    )
    parser.add_argument(
        "--metrics-port",
        type=port,
        metavar="N",
        help="serve Prometheus metrics at /metrics on this port (default: RHOPUSH_METRICS_PORT, else none)",
    )
    group = parser.add_argument_group("rhoconnect-push's own options")
    group.add_argument(
        "-p", "--port", dest="ansServerPort", metavar="N", help="port to listen on (default: 8675)"
    )
    group.add_argument(
        "-r", "--redis", dest="redisToGoUrl", metavar="URL", help="redis://DB:PASSWORD@host:port"
    )
    group.add_argument("-i", "--rcHost", metavar="HOST", help="RhoConnect's host (default: localhost)")
    group.add_argument("-e", "--rcPort", metavar="N", help="RhoConnect's port (default: 9292)")
    group.add_argument(
        "-R", "--rcSecure", action="store_const", const="y", help="connect to RhoConnect over TLS"
    )
    group.add_argument("-s", "--httpSecure", action="store_const", const="y", help="serve devices over TLS")
    group.add_argument("-k", "--keyFile", metavar="FILE", help="key for TLS (default: privatekey.pem)")
    group.add_argument(
        "--certificateFile", metavar="FILE", help="certificate for TLS (default: certificate.pem)"
    )
    group.add_argument(
        "-t", "--timeout", dest="ansResponseTimeout", metavar="MS", help="longest wait of a poll"
    )
    group.add_argument(
        "-T",
        "--registrationTimeout",
        metavar="S",
        help="lifetime of a registration without a call (default: 30 days)",
    )
    group.add_argument("-d", "--debug", metavar="N", help="accepted and ignored")


def run(args: argparse.Namespace) -> int:
    """Serve; returns the exit status.

    Raises:
        RhoPushError: a setting is invalid, the folder is in use, or the address cannot be bound.
    """
    settings = _given(args) if args.config is None else read_config(args.config)
    translated = translate(settings, os.environ, args.data_dir, args.metrics_port)
    log = PlainLog("settings", level=translated.settings.log_level)
    for warning in translated.warnings:
        log.warning("settings_warning", text=warning)
    plan = ServerOptions(
        host=args.host,
        port=translated.port,
        workers=args.workers,
        module="gateway.server.rhoconnect_push_worker",
        command="rps",
        rhoconnect_push=False,
    )
    return Supervisor(translated.settings, plan).run()


def _given(args: argparse.Namespace) -> dict[str, str]:
    """Return the options given on the command line, by rhoconnect-push's names."""
    given = {name: value for name, value in vars(args).items() if isinstance(value, str)}
    settings = LINE_DEFAULTS | {name: value for name, value in given.items() if name in _NAMES}
    for name, keys in _BOTH.items():
        if name in given:
            settings |= dict.fromkeys(keys, given[name])
    return settings


_NAMES: Final = {*LINE_DEFAULTS, "redisToGoUrl"}
_BOTH: Final = {"rcHost": ("userAuthHost", "appAuthHost"), "rcPort": ("userAuthPort", "appAuthPort")}
