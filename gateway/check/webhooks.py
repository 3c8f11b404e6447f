"""The check of webhook endpoints in `rhopush check`: one line each, and nothing is sent."""

from gateway.check.findings import Finding, Level
from gateway.errors import BadSetting
from gateway.server.webhooks import check_ca_files
from gateway.settings import Settings


def check_webhooks(settings: Settings) -> list[Finding]:
    """List the endpoints; a file of certificate authorities that cannot be read is an error."""
    findings = []
    for name, endpoint in settings.webhooks.items():
        signed = {0: "not signed", 1: "one secret", 2: "two secrets"}[len(endpoint.secret)]
        text = f"{endpoint.target.shown}, {signed}, {', '.join(endpoint.events)}"
        findings.append(Finding(Level.GOOD, f"webhook {name}", text))
        if endpoint.target.shown.startswith("http://") and endpoint.insecure:
            warning = "insecure: true: events are sent without encryption"
            findings.append(Finding(Level.WARNING, f"webhook {name}", warning))
    try:
        check_ca_files(settings)
    except BadSetting as error:
        findings.append(Finding(Level.BAD, "webhooks", error.message))
    return findings
