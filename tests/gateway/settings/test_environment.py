"""Settings from environment variables."""

from pathlib import Path

import pytest

from gateway.settings import Secret
from tests.gateway.settings.test_loading import complaint, loaded


def test_every_kind_of_value_comes_from_the_environment(tmp_path: Path) -> None:
    environ = {
        "RHOPUSH_APNS_KEY_ID": "1234567890",
        "RHOPUSH_APNS_DEADLINE_S": "2.5",
        "RHOPUSH_LIMITS_REQUESTS_PER_S": "100",
        "RHOPUSH_RESQUE_QUEUES": '["ping", "slow"]',
        "RHOPUSH_APPS": '{"com.x": {"fcm": {"package_name": "com.x.android"}}}',
        "RHOPUSH_QUEUE": '{"durability": "aof"}',
        "RHOPUSH_EVENTS_KEYSPACE": "off",
        "API_TOKEN": "t",
        "PSWRD": "p",
    }
    settings = loaded(tmp_path, "apns: {deadline_s: 9, connections_max: 7}", environ)
    assert (settings.apns.key_id, settings.apns.deadline_s, settings.apns.connections_max) == (
        "1234567890",
        2.5,
        7,
    )
    assert (settings.limits.requests_per_s, settings.resque.queues) == (100.0, ("ping", "slow"))
    assert settings.app("com.x").fcm.package_name == "com.x.android"
    assert (settings.queue.durability, settings.events.keyspace) == ("aof", "off")
    assert (settings.api_token, settings.admin_password) == (Secret("t"), Secret("p"))


def test_googles_variable_applies_if_nothing_else_is_set(tmp_path: Path) -> None:
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": "/etc/ambient.json"}
    assert loaded(tmp_path, "{}", environ).fcm.credentials_file == Path("/etc/ambient.json")
    said = loaded(tmp_path, "fcm: {credentials: '{}'}", environ).fcm
    assert (said.credentials, said.credentials_file) == (Secret("{}"), None)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("RHOPUSH_APNS_PORT", "many", "apns.port: expected a whole number"),
        ("RHOPUSH_RESQUE_QUEUES", "ping", "resque.queues: expected a list as JSON"),
        ("RHOPUSH_FCM_ENDPOINT", "ftp://x", "fcm.endpoint: expected http:// or https:// with a host"),
        ("RHOPUSH_APNS_KEY", "PEM", "apns.key_id: required with a p8 key"),
        ("RHOPUSH_APNS_KEY_FILE", "a.p8", "apns.key_id: required with a p8 key"),
        (
            "RHOPUSH_RHOCONNECT_PUSH_MODE",
            "on",
            "rhoconnect_push.mode: expected one of builtin, client, off, found 'on'",
        ),
        ("RHOPUSH_APPS", '{"x": {"fcm": {"style": "loud"}}}', "apps.x.fcm.style: expected one of"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, text: str, expected: str) -> None:
    said = complaint(tmp_path, "{}", {variable: text})
    assert said.startswith(expected)
    assert said.endswith(f"(environment variable {variable})")


def test_a_variable_that_is_no_setting_is_warned_about(tmp_path: Path) -> None:
    environ = {"RHOPUSH_APNS_TOPICS": "x", "RHOPUSH_SERVER": "http://x"}
    warnings = loaded(tmp_path, "{}", environ).warnings
    assert warnings == ("RHOPUSH_APNS_TOPICS is not a setting; did you mean RHOPUSH_APNS_TOPIC?",)


def test_invalid_utf_8_in_the_environment_is_reported(tmp_path: Path) -> None:
    said = complaint(tmp_path, "{}", {"RHOPUSH_LIMITS_BODY_BYTES": "5\udcff"})
    assert said.startswith("limits.body_bytes: ")
