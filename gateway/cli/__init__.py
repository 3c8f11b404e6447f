"""The command `rhopush`, whose first argument selects a subcommand.

Only the module of the subcommand is imported, with the modules that it needs: the supervisor of `serve` must not load
the dependencies of `bench`.
"""

import argparse
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Final

from gateway import __version__
from gateway.cli.parser import CommandParser
from gateway.errors import BadSetting, RhoPushError
from gateway.logs.terminal import printable
from gateway.server.gc_policy import exempt_modules, paused_collections
from gateway.system.unused_packages import unused_packages_hidden

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

_COMMANDS: Final = {
    "demo": "run a gateway with everything embedded and simulated devices",
    "serve": "run the gateway",
    "ping": "send one ping, or the pings of a file, to a gateway",
    "pings": "list the pings of a gateway, show one, or cancel one",
    "devices": "list the devices of a user, or explain what a ping would do",
    "queue": "show the queue of a gateway, and entries that could not be read",
    "dead": "list devices with dead push tokens, or restore them",
    "lanes": "list the lanes to the providers, or close a circuit breaker",
    "tokens": "create, list and revoke named API tokens",
    "audit": "list the recorded actions of operators",
    "webhooks": "list, replay or test the webhooks of a gateway",
    "check": "check settings, credentials, Redis and providers",
    "rps": "run the RhoConnect Push service alone",
    "simulate": "run simulators of APNs and FCM",
    "bench": "run benchmarks on this machine",
}

_DETACHED: Final = frozenset({"demo", "serve", "rps", "simulate"})
"""Commands that run until they are stopped: a stalled or closed reader of their stdout or stderr must not stop them."""


_OUTPUT_LOST: Final = (errno.EPIPE, errno.ENOSPC)
"""Errors of a write to stdout. Errors of connections are converted by the clients."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. 2: wrong usage or an invalid setting, reported in one line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words, own_process=arguments is None)
    except KeyboardInterrupt:  # also while a command loads its modules
        return EXIT_FAILED


def _run(words: list[str], *, own_process: bool) -> int:
    name = _parse_name(words[:1])
    with paused_collections(), unused_packages_hidden():
        module = importlib.import_module(f"gateway.cli.{name}")
    if own_process:
        exempt_modules()
    _open_missing_outputs()
    _escape_unknown_characters()
    parser = CommandParser(prog=f"rhopush {name}", description=module.__doc__)
    module.add_arguments(parser)
    args = parser.parse_args(words[1:])
    if name in _DETACHED:
        _detach_outputs()
    try:
        status: int = module.run(args)
        if name not in _DETACHED:
            sys.stdout.flush()
    except RhoPushError as error:
        redaction = importlib.import_module("gateway.logs.redaction")
        sys.stderr.write(f"rhopush {name}: {printable(redaction.scrub(error.message))}\n")
        return EXIT_USAGE if isinstance(error, BadSetting) else EXIT_FAILED
    except OSError as error:
        if name in _DETACHED or error.filename is not None or error.errno not in _OUTPUT_LOST:
            raise
        _drop_output(error)
        return EXIT_FAILED
    return status


def _detach_outputs() -> None:
    plain, writer = (importlib.import_module(f"gateway.logs.{name}") for name in ("plain", "writer"))
    writer.detach(
        plain.dropped_notice(), stdout=lambda number: f"({number} lines dropped: stdout was not read)"
    )


def _open_missing_outputs() -> None:
    """Open the null device as stdout and stderr if the process was started without them (`>&-`)."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            setattr(sys, stream, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def _escape_unknown_characters() -> None:
    r"""Write a character that the encoding of the locale does not have as an escape, such as `\u2026`, to stdout.

    Python does so for stderr alone; in stdout, such a character would end the command.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output(error: OSError) -> None:
    """Drop the output that is not written yet, and report the error unless the reader has ended (`| head`)."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())  # the interpreter flushes stdout at its end
    os.close(null)
    if error.errno != errno.EPIPE:
        sys.stderr.write(f"rhopush: the output cannot be written: {error.strerror}\n")


def _parse_name(words: list[str]) -> str:
    listing = "\n".join(f"  {name:<10}{text}" for name, text in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="rhopush",
        description=f"Push gateway for RhoConnect apps.\n\ncommands:\n{listing}",
        epilog="rhopush COMMAND --help lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rhopush {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=[*_COMMANDS])
    name: str = parser.parse_args(words).command
    return name
