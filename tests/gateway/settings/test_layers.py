"""How one layer of settings displaces another."""

from pathlib import Path

import pytest

from gateway.errors import BadSetting
from gateway.settings import Secret
from tests.gateway.settings.test_loading import loaded


def test_a_key_displaces_the_certificate_of_the_old_file(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "apns: {key: PEM, key_id: A, team_id: B, environment: sandbox}",
        beside=":iphonecertfile: old.pem\n:iphoneserver: gateway.push.apple.com",
    )
    assert (settings.apns.certificate_file, settings.apns.key) == (None, Secret("PEM"))
    assert settings.apns.server == "api.sandbox.push.apple.com"


SERVICE = "rhoconnect_push: {host: 10.0.0.1, port: 9000, certificate_file: /c.pem, key_file: /k.pem}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HOST", "0.0.0.0"), ("CERTIFICATE_FILE", "/other.pem"), ("KEY_FILE", "/other.pem")],
)
def test_a_setting_of_a_section_without_credentials_displaces_no_other(
    tmp_path: Path, variable: str, value: str
) -> None:
    """The names of a provider's settings have rules of their own in the section of that provider alone."""
    below = loaded(tmp_path, SERVICE).rhoconnect_push
    found = loaded(tmp_path, SERVICE, {f"RHOPUSH_RHOCONNECT_PUSH_{variable}": value}).rhoconnect_push
    changed = {name for name in found.__struct_fields__ if getattr(found, name) != getattr(below, name)}
    assert changed == {variable.lower()}


def test_variables_displace_no_other_variable(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "{}",
        {
            "RHOPUSH_RHOCONNECT_PUSH_CERTIFICATE_FILE": "/c.pem",
            "RHOPUSH_RHOCONNECT_PUSH_KEY_FILE": "/k.pem",
        },
    )
    service = found.rhoconnect_push
    assert (service.certificate_file, service.key_file) == (Path("/c.pem"), Path("/k.pem"))


def test_two_credentials_of_the_environment_are_refused(tmp_path: Path) -> None:
    variables = {"RHOPUSH_APNS_CERTIFICATE_FILE": "/c.pem", "RHOPUSH_APNS_KEY_FILE": "/k.p8"}
    with pytest.raises(BadSetting, match="give one credential, not key_file and certificate_file"):
        loaded(tmp_path, "{}", variables | {"RHOPUSH_APNS_KEY_ID": "A", "RHOPUSH_APNS_TEAM_ID": "B"})
