"""Look at settings, credentials, Redis, a live RhoConnect's data and the providers: one line each. Nothing is sent,
and nothing is written.

Exit status 0 if a gateway can run so, 1 if something must be mended, 2 for a wrong setting.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Sequence
from typing import Final

from gateway.commands.options import add_settings_arguments, load_settings
from gateway.compose.checks import (
    check_credentials,
    check_files,
    check_provider,
    check_store,
    check_trust,
    providers,
)
from gateway.compose.findings import Finding, Level
from gateway.compose.takeover import check_takeover
from gateway.settings import Settings

_MARKS: Final = {Level.GOOD: "ok", Level.WARNING: "warn", Level.BAD: "FAIL"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rhopush check`."""
    add_settings_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check and print.

    Raises:
        BadSetting: one is unknown or wrong.
    """
    settings = load_settings(args)
    findings = [Finding(Level.GOOD, "settings", f"read, {len(settings.apps)} apps of their own")]
    findings += [Finding(Level.WARNING, "settings", warning) for warning in settings.warnings]
    findings += check_files(settings)
    findings += asyncio.run(_look(settings))
    for finding in findings:
        sys.stdout.write(f"{_MARKS[finding.level]:<5} {finding.subject:<32} {finding.text}\n")
    return 1 if any(finding.level is Level.BAD for finding in findings) else 0


async def _look(settings: Settings) -> list[Finding]:
    """All at once: a silent host costs its time-out only once."""
    looks: list[Awaitable[Sequence[Finding]]] = []
    untrusted = check_trust(settings)
    if not untrusted:
        looks += [check_store(settings), check_takeover(settings)]
    looks += [check_provider(provider) for provider in providers(settings)]
    found = await asyncio.gather(*looks)
    return check_credentials(settings) + untrusted + [finding for group in found for finding in group]
