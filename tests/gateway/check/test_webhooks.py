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
        (Level.WARNING, "webhook plain", "webhooks.plain.insecure: true: events are sent without encryption"),
        (Level.GOOD, "webhook log", "file:///tmp/e, not signed, lane.up, lane.down"),
    ]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    crm = WebhookSettings(Secret("https://crm/h"), (Secret(SECRET),), ("lane.up",), tmp_path / "none")
    finding = check_webhooks(Settings(webhooks={"crm": crm}))[-1]
    assert finding.level is Level.BAD
    assert finding.text.startswith("webhooks.crm.ca_file: ")


def test_every_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    bad = WebhookSettings(Secret("https://crm/h"), (Secret(SECRET),), ("lane.up",), tmp_path / "none")
    found = check_webhooks(Settings(webhooks={"one": bad, "two": bad}))
    assert [one.text.partition(":")[0] for one in found if one.level is Level.BAD] == [
        "webhooks.one.ca_file",
        "webhooks.two.ca_file",
    ]


def test_an_event_file_that_cannot_be_written_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "folder").mkdir()
    (tmp_path / "good").touch()
    paths = {
        "missing/events": f"the folder {tmp_path}/missing does not exist",
        "link": f"{tmp_path}/link is no regular file",
        "folder": f"{tmp_path}/folder is no regular file",
        "good": None,
        "new": None,
    }
    for path, why in paths.items():
        log = WebhookSettings(Secret(f"file://{tmp_path}/{path}"), (), ("lane.up",))
        found = [
            one.text for one in check_webhooks(Settings(webhooks={"log": log})) if one.level is not Level.GOOD
        ]
        assert found == ([] if why is None else [f"webhooks.log.url: {why}: no event arrives there"])
