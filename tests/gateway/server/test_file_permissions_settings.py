"""Credential files of the settings that other users may read."""

from pathlib import Path

import pytest

from gateway.server.file_permissions import exposed
from gateway.settings import ApnsSettings, FcmSettings, RhoConnectPushSettings, Settings
from gateway.settings.model import App


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    tmp_path.chmod(0o700)
    made = {name: tmp_path / name for name in ("key", "account", "certificate")}
    for file in made.values():
        file.touch(mode=0o600)
    return made


def warnings(files: dict[str, Path]) -> list[str]:
    apns = ApnsSettings(key_file=files["key"])
    settings = Settings(
        data_dir=files["key"].parent,
        apns=apns,
        apps={"com.x": App(apns, FcmSettings(credentials_file=files["account"]))},
        rhoconnect_push=RhoConnectPushSettings(certificate_file=files["certificate"]),
    )
    return exposed(settings)


def test_private_files_are_not_reported(files: dict[str, Path]) -> None:
    assert warnings(files) == []


def test_each_file_is_reported_once_with_its_setting(files: dict[str, Path]) -> None:
    for file in files.values():
        file.chmod(0o644)
    found = warnings(files)
    assert len(found) == 3
    for words, setting, file in zip(
        found,
        ("apns.key_file", "apps.com.x.fcm.credentials_file", "rhoconnect_push.certificate_file"),
        files.values(),
        strict=True,
    ):
        assert setting in words
        assert str(file) in words
