"""Unusable credentials are reported at the start and after a reload, before the first ping."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import structlog

from gateway.delivery.credential_check import unusable_credentials
from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.lane_manager import LaneManager
from gateway.metrics import Metrics
from gateway.settings import ApnsSettings, App, FcmSettings, RhoConnectPushSettings, Secret, Settings
from gateway.simulators.authority import Authority
from protocols.push_tokens import APNS

AUTHORITY = Authority()
KEY = ApnsSettings(key=Secret("hush"), key_id="ABC123DEFG", team_id="DEF123GHIJ", topic="com.example.app")
PEM = "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n"
GONE = ApnsSettings(certificate_file=Path("/gone.pem"))


def certified(folder: Path, *, ca_file: Path | None = None) -> ApnsSettings:
    file = folder / "apple.pem"
    file.write_bytes(AUTHORITY.client_certificate(["com.example.app"]).pem)
    return ApnsSettings(certificate_file=file, ca_file=ca_file)


@pytest.mark.parametrize(
    ("settings", "provider", "app", "error"),
    [
        (Settings(apns=KEY), "apns", "", "apns.key: "),
        (Settings(apns=ApnsSettings(key=Secret("hush"))), "apns", "", "apns.topic: "),
        (Settings(apns=GONE), "apns", "", "apns.certificate_file: /gone.pem: No such file"),
        (
            Settings(fcm=FcmSettings(credentials_file=Path("/gone"))),
            "fcm",
            "",
            "fcm.credentials_file: /gone: ",
        ),
        (Settings(fcm=FcmSettings(credentials=Secret('"hush"'))), "fcm", "", "fcm.credentials: "),
        (Settings(apps={"com.x": App(GONE)}), "apns", "com.x", "apns.certificate_file: /gone.pem: "),
        (
            Settings(push_server=Secret("hush"), rhoconnect_push=RhoConnectPushSettings(mode="client")),
            "rhoconnect_push",
            "",
            "push_server: expected http://",
        ),
    ],
)
def test_an_invalid_credential_is_named_without_the_secret(
    settings: Settings, provider: str, app: str, error: str
) -> None:
    (found,) = unusable_credentials(settings)
    assert (found.provider, found.app) == (provider, app)
    assert found.error.startswith(error)
    assert "hush" not in found.error


@pytest.mark.parametrize("setting", ["apns.key_file", "apns.certificate_file", "fcm.credentials_file"])
@pytest.mark.parametrize(
    "text", ["", "hush", "{}", PEM, '{"type": "service_account", "client_email": "hush"}']
)
def test_an_invalid_file_is_named_with_its_setting(tmp_path: Path, setting: str, text: str) -> None:
    file = tmp_path / "credential"
    file.write_text(text)
    section, _, name = setting.partition(".")
    kind = ApnsSettings if section == "apns" else FcmSettings
    named = {"topic": "com.example.app"} if section == "apns" else {}
    (found,) = unusable_credentials(Settings(**{section: kind(**{name: file}, **named)}))
    assert found.error.startswith(f"{setting}: {file}: ")
    assert "hush" not in found.error


def test_a_missing_file_of_authorities_makes_a_good_certificate_unusable(tmp_path: Path) -> None:
    (found,) = unusable_credentials(Settings(apns=certified(tmp_path, ca_file=tmp_path / "none.pem")))
    assert found.error == f"{tmp_path / 'none.pem'}: no such file or directory"


def test_missing_and_usable_credentials_are_not_named(tmp_path: Path) -> None:
    assert list(unusable_credentials(Settings())) == []
    good = certified(tmp_path)
    assert list(unusable_credentials(Settings(apns=good, apps={"com.x": App(good)}))) == []


def test_an_app_with_the_common_credential_is_not_named_again() -> None:
    assert [found.app for found in unusable_credentials(Settings(apns=GONE, apps={"com.x": App(GONE)}))] == [
        ""
    ]


def told(lanes: LaneManager, renewed: Settings | None = None) -> list[Mapping[str, object]]:
    with structlog.testing.capture_logs() as logs:
        if renewed is None:
            lanes.log_unusable()
        else:
            lanes.apply_settings(renewed)
    return [log for log in logs if log["event"] == "credential_invalid"]


async def test_lanes_log_it_once_before_the_first_ping() -> None:
    lanes = LaneManager(Settings(apns=GONE), Metrics(), IgnoredTokenReports())
    (said,) = told(lanes)
    assert (said["log_level"], said["provider"], said["app"]) == ("error", "apns", "")
    (said,) = told(lanes, Settings(apns=GONE, fcm=FcmSettings(credentials=Secret("{"))))[1:]
    assert said["provider"] == "fcm"
    assert lanes.route(APNS, "") == "credential_invalid"
    assert len(told(lanes, Settings(apns=GONE))) == 1
