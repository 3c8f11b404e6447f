"""Texts of settings: what stands around them, what must not be in them, and what is never shown of them."""

from pathlib import Path

import pytest

from gateway.errors import BadSetting
from gateway.settings import Secret, Settings, load


def loaded(folder: Path, gateway: str, environ: dict[str, str]) -> Settings:
    """A file with `gateway` below `:gateway:`."""
    file = folder / "settings.yml"
    file.write_text(f":production:\n  :gateway:\n    {gateway}\n")
    return load(file, "production", environ)


def complaint(folder: Path, gateway: str, environ: dict[str, str]) -> str:
    with pytest.raises(BadSetting) as refused:
        loaded(folder, gateway, environ)
    assert "\n" not in refused.value.message
    return refused.value.message


KEY_TEXT = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "form",
    [KEY_TEXT, KEY_TEXT.replace("\n", "\\n"), '{"private_key": "MIGHAgEAMBMGBy"}'],
    ids=["PEM", "one line", "JSON"],
)
@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("RHOPUSH_APNS_KEY_FILE", "apns.key takes the text itself"),
        ("RHOPUSH_FCM_CREDENTIALS_FILE", "fcm.credentials takes the text itself"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "fcm.credentials takes the text itself"),
        ("RHOPUSH_APNS_CERTIFICATE_FILE", "write the text into a file"),
        ("RHOPUSH_RHOCONNECT_PUSH_KEY_FILE", "write the text into a file"),
        ("RHOPUSH_APNS_CA_FILE", "write the text into a file"),
        ("RHOPUSH_DATA_DIR", "data_dir: "),
        ("RHOPUSH_APNS_ENVIRONMENT", "apns.environment: "),
    ],
)
def test_a_key_in_the_place_of_another_value_is_not_shown(
    tmp_path: Path, variable: str, says: str, form: str
) -> None:
    said = complaint(tmp_path, "{}", {variable: form})
    assert "MIGH" not in said
    assert says in said
    assert said.endswith(f"(environment variable {variable})")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("RHOPUSH_APNS_TOPIC", "com.\x07example", "apns.topic: holds the control character U+0007"),
        ("API_TOKEN", "tok\nen", "api_token: holds the control character U+000A"),
        ("RHOPUSH_APNS_KEY", "a\0b", "apns.key: holds the control character U+0000"),
        ("RHOPUSH_RESQUE_QUEUES", '["a\\u0000"]', "resque.queues: holds the control character U+0000"),
        ("RHOPUSH_FCM_ENDPOINT", "https://[::1", "fcm.endpoint: expected http:// or https:// with a host"),
        ("RHOPUSH_FCM_ENDPOINT", "https://x:99999", "fcm.endpoint: expected http:// or https:// with a host"),
        (
            "RHOPUSH_RHOCONNECT_PUSH_USER_AUTH_URL",
            "http://[::1",
            "rhoconnect_push.user_auth_url: expected an http:// or https:// address",
        ),
        ("RHOPUSH_APNS_KEY_FILE", "~nobody-here/key.p8", "apns.key_file: the value cannot be read"),
    ],
)
def test_a_value_that_nothing_can_use_is_refused_by_name(
    tmp_path: Path, variable: str, text: str, expected: str
) -> None:
    assert complaint(tmp_path, "{}", {variable: text}).startswith(expected)


def test_white_space_around_a_text_is_no_part_of_it(tmp_path: Path) -> None:
    environ = {
        "RHOPUSH_APNS_TOPIC": " com.example.app\n",
        "RHOPUSH_APNS_PORT": " 2197 ",
        "RHOPUSH_RHOCONNECT_PUSH_MODE": "off\r\n",
        "RHOPUSH_FCM_ENDPOINT": "\ufeffhttps://x ",
        "RHOPUSH_APNS_CA_FILE": " /ca.pem\n",
        "RHOPUSH_QUEUE_REDIS": " redis://x\n",
        "GOOGLE_APPLICATION_CREDENTIALS": "/account.json\n",
        "RHOPUSH_PUSH_SERVER": " ",
    }
    found = loaded(tmp_path, "events: {channels: [' a ']}", environ)
    assert (found.apns.topic, found.apns.port, found.rhoconnect_push.mode) == ("com.example.app", 2197, "off")
    assert (found.fcm.endpoint, found.apns.ca_file) == ("https://x", Path("/ca.pem"))
    assert (found.queue.redis, found.push_server) == (Secret("redis://x"), None)
    assert (found.fcm.credentials_file, found.events.channels) == (Path("/account.json"), ("a",))
