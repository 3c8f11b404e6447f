"""The line of each endpoint in `rhopush check`."""

from pathlib import Path

from gateway.check.findings import Level
from gateway.check.webhooks import check_webhooks
from gateway.settings import Secret, Settings, WebhookSettings
from tests.support.webhooks import SECRET


def test_each_endpoint_has_one_line_without_secrets(tmp_path: Path) -> None:
    crm = WebhookSettings(Secret("https://crm/h?key=hidden"), (Secret(SECRET),) * 2, ("ping.completed",))
    plain = WebhookSettings(Secret("http://crm/h"), (Secret(SECRET),), ("lane.up",), None, True)
    log = WebhookSettings(Secret("file:///tmp/e"), (), ("lane.up", "lane.down"))
    found = check_webhooks(Settings(webhooks={"crm": crm, "plain": plain, "log": log}))
    assert [(one.level, one.subject, one.text) for one in found] == [
        (Level.GOOD, "webhook crm", "https://crm/h, two secrets, ping.completed"),
        (Level.GOOD, "webhook plain", "http://crm/h, one secret, lane.up"),
        (Level.WARNING, "webhook plain", "insecure: true: events are sent without encryption"),
        (Level.GOOD, "webhook log", "file:///tmp/e, not signed, lane.up, lane.down"),
    ]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    crm = WebhookSettings(Secret("https://crm/h"), (Secret(SECRET),), ("lane.up",), tmp_path / "none")
    finding = check_webhooks(Settings(webhooks={"crm": crm}))[-1]
    assert finding.level is Level.BAD
    assert finding.text.startswith("webhooks.crm.ca_file: ")
