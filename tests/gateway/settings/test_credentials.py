"""A provider has at most one credential, and a complete one."""

from pathlib import Path

import pytest

from gateway.errors import BadSetting
from gateway.settings.convert import Converter
from gateway.settings.credentials import one_credential
from gateway.settings.model import ApnsSettings, App, FcmSettings
from gateway.system.secret import Secret

FILE = Path("key.p8")
TEXT = Secret("hush")


def complaint_about(app: App, *place: str) -> str | None:
    """The text of the error; None: the settings are accepted."""
    try:
        one_credential(Converter(lambda path: f"where {'.'.join(path)} is", Path()), app, place)
    except BadSetting as error:
        return error.message
    return None


@pytest.mark.parametrize(
    "app",
    [
        App(),
        App(ApnsSettings(certificate_file=FILE)),
        App(ApnsSettings(key_file=FILE, key_id="A", team_id="B")),
        App(ApnsSettings(key=TEXT, key_id="A", team_id="B"), FcmSettings(credentials_file=FILE)),
    ],
)
def test_one_complete_credential_or_none_is_accepted(app: App) -> None:
    assert complaint_about(app) is None


@pytest.mark.parametrize(
    ("app", "complaint"),
    [
        (
            App(ApnsSettings(key=TEXT, key_file=FILE)),
            "apps.x.apns.key: give one credential, not key and key_file (where apps.x.apns.key is)",
        ),
        (
            App(ApnsSettings(key_file=FILE, certificate_file=FILE)),
            "apps.x.apns.key_file: give one credential, not key_file and certificate_file"
            " (where apps.x.apns.key_file is)",
        ),
        (
            App(fcm=FcmSettings(credentials=TEXT, credentials_file=FILE)),
            "apps.x.fcm.credentials: give one credential, not credentials and credentials_file"
            " (where apps.x.fcm.credentials is)",
        ),
        (
            App(ApnsSettings(key=TEXT, team_id="B")),
            "apps.x.apns.key_id: required with a p8 key (where apps.x.apns.key is)",
        ),
        (
            App(ApnsSettings(key_file=FILE, key_id="A")),
            "apps.x.apns.team_id: required with a p8 key (where apps.x.apns.key_file is)",
        ),
    ],
)
def test_an_error_names_its_setting(app: App, complaint: str) -> None:
    assert complaint_about(app, "apps", "x") == complaint
