"""The provider object of RhoConnect Push. Its lanes have separate test files."""

import pytest

from gateway.delivery.providers.base import (
    NO_CREDENTIAL,
    NOT_SERVED,
    CheckedCredential,
    ProviderServer,
)
from gateway.delivery.providers.rhoconnect_push import PROVIDER
from gateway.errors import BadSetting
from gateway.settings import RhoConnectPushSettings, Secret, Settings

CLIENT = RhoConnectPushSettings(mode="client")
SERVER = Secret("http://app:hush@push.example.com/")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (Settings(), None),
        (Settings(rhoconnect_push=CLIENT), NO_CREDENTIAL),
        (Settings(rhoconnect_push=CLIENT, push_server=SERVER), None),
        (Settings(rhoconnect_push=RhoConnectPushSettings(mode="off")), NOT_SERVED),
    ],
)
def test_the_mode_decides_whether_legacy_devices_are_served(settings: Settings, reason: str | None) -> None:
    assert PROVIDER.unserved(settings, "") == reason


def test_another_push_service_is_a_server_and_its_address_a_credential() -> None:
    settings = Settings(rhoconnect_push=CLIENT, push_server=SERVER)
    assert PROVIDER.credential(settings, "") == CheckedCredential("http://push.example.com")
    assert list(PROVIDER.servers(settings, "")) == [
        ProviderServer("push_server", "push.example.com", 80, None, tls=False, setting="push_server")
    ]
    wrong = Settings(rhoconnect_push=CLIENT, push_server=Secret("push.example.com"))
    with pytest.raises(BadSetting):
        PROVIDER.credential(wrong, "")


def test_the_built_in_service_needs_neither() -> None:
    settings = Settings(push_server=SERVER)
    assert PROVIDER.credential(settings, "") is None
    assert list(PROVIDER.servers(settings, "")) == []
