"""Keys of an upper layer that displace others which mean the same thing in another way."""

import pytest

from gateway.settings import ApnsSettings, FcmSettings
from gateway.settings.layers import overlay

SECTIONS = {"apns": ApnsSettings, "fcm": FcmSettings}
BELOW = {
    "apns": {
        "key": "k",
        "key_file": "f",
        "certificate_file": "c",
        "certificate_passphrase": "p",
        "topic": "t",
    },
    "fcm": {"credentials": "a", "credentials_file": "f"},
}


@pytest.mark.parametrize(
    ("key", "left"),
    [("key", {"topic"}), ("key_file", {"topic"}), ("certificate_file", set()), ("key_id", {*BELOW["apns"]})],
)
def test_a_credential_displaces_every_other_form_of_it(key: str, left: set[str]) -> None:
    assert set(overlay(BELOW, {"apns": {key: "new"}}, SECTIONS)["apns"]) == left | {key}


def test_nothing_that_is_null_displaces_anything() -> None:
    assert overlay(BELOW, {"fcm": {"credentials": None}}, SECTIONS)["fcm"] == {
        "credentials": None,
        "credentials_file": "f",
    }
    assert overlay(BELOW, {"fcm": {"credentials": "b"}}, SECTIONS)["fcm"] == {"credentials": "b"}
