"""Check settings, credentials, Redis, a live RhoConnect's data and the providers, with one line for each result.
Nothing is delivered, and nothing is written.

Exit status: 0 if a gateway can run with these settings, 1 if a problem must be solved first, 2 for an invalid setting.

With --clean: list the data of gateways in every Redis of the settings, ask for confirmation, and remove it. Exit
status: 0 if no data is left, 1 otherwise.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Sequence
from typing import Final

from gateway.check import cleanup
from gateway.check.checks import (
    check_commands,
    check_credentials,
    check_files,
    check_provider,
    check_push_certificate,
    check_store,
    check_trust,
    providers,
)
from gateway.check.findings import Finding, Level
from gateway.check.keyspace_notifications import check_keyspace_notifications
from gateway.check.migration import check_migration
from gateway.check.rhoconnect_push import check_push_port, check_push_server
from gateway.check.start import check_metrics_port, check_tracing
from gateway.check.webhooks import check_webhooks
from gateway.cli.given_settings import load_settings
from gateway.cli.options import add_settings_arguments
from gateway.delivery.ping_additions import addition_rules
from gateway.logs.redaction import scrub
from gateway.logs.terminal import printable
from gateway.settings import Settings

_MARKS: Final = {Level.GOOD: "ok", Level.WARNING: "warn", Level.BAD: "FAIL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `rhopush check`."""
    add_settings_arguments(parser)
    parser.add_argument(
        "--clean", action="store_true", help="list the gateway's own keys in Redis, ask, and remove them"
    )
    parser.add_argument("--yes", action="store_true", help="with --clean: remove without asking")


def run(args: argparse.Namespace) -> int:
    """Check and print, or clean.

    Raises:
        BadSetting: a setting is unknown or invalid.
        BadProvider: an installed provider cannot be used.
        StoreDown: with --clean: a Redis does not answer, or refuses a command.
    """
    settings = load_settings(args)
    if args.clean:
        return _clean(settings, ask=not args.yes)
    addition_rules()  # as each worker does at its start
    findings = [Finding(Level.GOOD, "settings", f"read, {len(settings.apps)} apps of their own")]
    findings += [Finding(Level.WARNING, "settings", warning) for warning in settings.warnings]
    findings += check_files(settings)
    findings += check_webhooks(settings)
    findings += check_tracing(settings)
    findings += asyncio.run(_run_checks(settings))
    for finding in findings:
        subject, text = printable(scrub(finding.subject)), printable(scrub(finding.text), lines=True)
        sys.stdout.write(f"{_MARKS[finding.level]:<5} {subject:<32} {text}\n")
    return 1 if any(finding.level is Level.BAD for finding in findings) else 0


async def _run_checks(settings: Settings) -> list[Finding]:
    """Run all checks concurrently, so that unresponsive hosts cost one time-out in all."""
    looks: list[Awaitable[Sequence[Finding]]] = []
    untrusted = check_trust(settings)
    if not untrusted:
        looks += [
            check_store(settings),
            check_commands(settings),
            check_migration(settings),
            check_keyspace_notifications(settings),
        ]
    looks += [check_push_port(settings), check_push_server(settings), check_metrics_port(settings)]
    looks += [check_provider(provider) for provider in providers(settings)]
    found = await asyncio.gather(*looks)
    files = check_credentials(settings) + check_push_certificate(settings) + untrusted
    return files + [finding for group in found for finding in group]


def _clean(settings: Settings, *, ask: bool) -> int:
    if settings.redis is None:
        folder = settings.data_dir / "valkey"
        sys.stdout.write(
            f"The embedded Valkey keeps its data in {folder}: remove that folder to remove the data.\n"
        )
    found = [one for one in asyncio.run(cleanup.find(settings)) if not one.empty]
    for one in found:
        sys.stdout.writelines(f"{line}\n" for line in one.lines())
    if not found:
        sys.stdout.write("Nothing of the gateway is in Redis.\n")
        return 0
    if any(one.gateways for one in found):
        sys.stderr.write("rhopush check: nothing was removed: a gateway is connected\n")
        return 1
    if ask and not _confirmed():
        sys.stdout.write("Nothing was removed.\n")
        return 1
    for one in found:
        count = asyncio.run(cleanup.remove(one, settings))
        sys.stdout.write(f"{one.address}: {count} keys removed\n")
    return 0


def _confirmed() -> bool:
    sys.stdout.write("Remove all of this? RhoConnect's own keys stay. [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
