"""The section `apns`: the server in force, and what a key needs. RhoConnect's keys are in test_rhoconnect.py."""

import pytest

from gateway.settings import ApnsSettings, Secret
from gateway.settings.apns import SANDBOX_HOST
from gateway.settings.provider_settings import IncompleteCredential


@pytest.mark.parametrize(
    ("section", "server", "sandbox"),
    [
        (ApnsSettings(), "api.push.apple.com", None),
        (ApnsSettings(environment="sandbox"), SANDBOX_HOST, None),
        (ApnsSettings(environment="auto"), "api.push.apple.com", (SANDBOX_HOST, 443)),
        (ApnsSettings(environment="auto", host="own"), "own", None),
        (ApnsSettings(environment="auto", host="own", sandbox_host="two", sandbox_port=2), "own", ("two", 2)),
    ],
)
def test_the_servers_in_force(section: ApnsSettings, server: str, sandbox: tuple[str, int] | None) -> None:
    assert section.server == server
    assert section.sandbox == sandbox


def test_a_key_needs_its_id_and_team() -> None:
    assert list(ApnsSettings().incomplete()) == []
    assert list(ApnsSettings(key=Secret("x"), key_id="A").incomplete()) == [
        IncompleteCredential("team_id", "required with a p8 key", "key")
    ]


def test_a_setting_without_effect_is_named() -> None:
    assert list(ApnsSettings(background_min_interval_s=1).ineffective()) == ["background_min_interval_s"]
    assert list(ApnsSettings().ineffective()) == []
