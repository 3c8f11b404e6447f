"""Which providers there are. Broken entry points of real packages are in `tests/test_provider_package.py`."""

from dataclasses import replace

import pytest

from gateway.delivery.provider_entry import ProviderEntry
from gateway.delivery.provider_registry import Providers, installed
from gateway.delivery.providers.apns_entry import ENTRY as APNS
from gateway.delivery.providers.fcm_entry import ENTRY as FCM
from gateway.delivery.providers.rhoconnect_push_entry import ENTRY as RHOCONNECT_PUSH
from gateway.errors import BadProvider, BadSetting
from gateway.settings import ApnsSettings, FcmSettings, Settings
from gateway.settings.model import App


def test_the_gateways_providers_are_installed_and_looked_up_once() -> None:
    assert list(installed().entries) == ["apns", "fcm", "rhoconnect_push"]
    assert installed() is installed()
    assert installed().settings_type is Settings
    assert [provider.name for provider in installed()] == list(installed().entries)
    assert installed().get("pigeon") is None


def test_each_device_type_has_its_provider() -> None:
    assert installed().device_types == {
        "apple": "apns",
        "iphone": "apns",
        "fcm": "fcm",
        "gcm": "fcm",
        "rhoconnect_push": "rhoconnect_push",
        "rhoconnect": "rhoconnect_push",
    }


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        (APNS, "two providers have the name 'apns': one and two"),
        (
            ProviderEntry("pear", "x:Y", device_types=("apple",)),
            "two providers serve the device type 'apple': one and two",
        ),
    ],
)
def test_two_claims_to_one_thing_are_refused(second: ProviderEntry, complaint: str) -> None:
    with pytest.raises(BadProvider, match=complaint):
        Providers([(APNS, "one"), (second, "two")])


def test_a_provider_with_the_name_of_a_setting_is_refused() -> None:
    with pytest.raises(BadSetting, match="redis: a provider cannot have the name of a setting"):
        Providers([(ProviderEntry("redis", "x:Y", FcmSettings), "one")])


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("gateway.no_such_module:PROVIDER", "one: gateway.no_such_module:PROVIDER: ModuleNotFoundError"),
        ("gateway.errors:PROVIDER", "one: gateway.errors:PROVIDER: AttributeError"),
        (
            "gateway.errors:BadSetting",
            "one: gateway.errors:BadSetting is not a provider with the name 'apns'",
        ),
        (FCM.provider, "is not a provider with the name 'apns'"),
    ],
)
def test_an_object_that_is_no_provider_is_refused_by_name(path: str, complaint: str) -> None:
    with pytest.raises(BadProvider, match=complaint):
        list(Providers([(replace(APNS, provider=path), "one")]))


def test_the_iteration_has_each_app_with_settings_of_its_own() -> None:
    providers = Providers([(RHOCONNECT_PUSH, "three"), (FCM, "two"), (APNS, "one")])
    above, own = ApnsSettings(topic="a"), ApnsSettings(topic="b")
    apps = {"same": App(above), "other": App(own), "both": App(own, FcmSettings(project_id="p"))}
    found = [(one.name, app) for one, app in providers.credentials(Settings(apns=above, apps=apps))]
    assert found == [
        ("apns", ""),
        ("fcm", ""),
        ("apns", "other"),
        ("apns", "both"),
        ("fcm", "both"),
        ("rhoconnect_push", ""),
    ]
