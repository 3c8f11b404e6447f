"""The check of webhook endpoints in `rhopush check`: one line each, and nothing is sent."""

import os
from pathlib import Path

from gateway.check.findings import Finding, Level
from gateway.errors import CredentialError
from gateway.settings import Settings, WebhookSettings
from gateway.transport.tls import client_context
from protocols.webhooks.target import TargetKind


def check_webhooks(settings: Settings) -> list[Finding]:
    """List the endpoints. A file of certificate authorities that cannot be read is an error; an event file that cannot
    be written on this machine is a warning."""
    findings = []
    for name, endpoint in settings.webhooks.items():
        signed = {0: "not signed", 1: "one secret", 2: "two secrets"}[len(endpoint.secret)]
        text = f"{endpoint.target.shown}, {signed}, {', '.join(endpoint.events)}"
        findings.append(Finding(Level.GOOD, f"webhook {name}", text))
        findings += [
            Finding(level, f"webhook {name}", f"webhooks.{name}.{problem}")
            for level, problem in _problems(endpoint)
        ]
    return findings


def _problems(endpoint: WebhookSettings) -> list[tuple[Level, str]]:
    """Return the problems of an endpoint, each with its setting."""
    found = []
    target = endpoint.target
    if target.shown.startswith("http://") and endpoint.insecure:
        found.append((Level.WARNING, "insecure: true: events are sent without encryption"))
    if target.kind is TargetKind.FILE and (why := _unwritable(Path(target.address))):
        found.append((Level.WARNING, f"url: {why}: no event arrives there"))
    if endpoint.ca_file is not None:
        try:
            client_context(ca_file=endpoint.ca_file)
        except CredentialError as error:
            found.append((Level.BAD, f"ca_file: {error.message}"))
    return found


def _unwritable(path: Path) -> str:
    """Return the reason why this user cannot write a file; "" if there is none."""
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return f"{path} is no regular file"
    wanted = path if path.exists() else path.parent
    return "" if os.access(wanted, os.W_OK) else f"{wanted} cannot be written"
