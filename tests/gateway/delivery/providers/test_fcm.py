"""The provider object of FCM."""

import json
from pathlib import Path

import pytest

from gateway.delivery.providers.base import CheckedCredential, ProviderServer
from gateway.delivery.providers.fcm import PROVIDER
from gateway.errors import CredentialError
from gateway.settings import FcmSettings, Secret, Settings
from gateway.simulators.keys import make_service_account


def test_an_account_leads_to_the_api_and_to_its_token_server() -> None:
    account = make_service_account("shop", "https://tokens.example.com:444/token")
    settings = Settings(fcm=FcmSettings(credentials=Secret(account.json.decode())))
    found = PROVIDER.credential(settings, "")
    assert found is not None
    assert found.text.endswith(", project shop")
    assert found == PROVIDER.check(settings, "")
    assert list(PROVIDER.servers(settings, "")) == [
        ProviderServer("fcm", "fcm.googleapis.com", 443, None, setting="fcm.endpoint"),
        ProviderServer(
            "fcm tokens", "tokens.example.com", 444, None, setting="the URLs in the FCM credentials"
        ),
    ]
    assert PROVIDER.expiry(settings, "") is None


def test_an_unreadable_credential_leaves_the_api_alone() -> None:
    settings = Settings(fcm=FcmSettings(credentials=Secret("{}")))
    assert [server.name for server in PROVIDER.servers(settings, "")] == ["fcm"]
    with pytest.raises(CredentialError):
        PROVIDER.credential(settings, "")


def test_only_a_check_reads_the_file_of_an_external_accounts_token(tmp_path: Path) -> None:
    file = tmp_path / "subject"
    external = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(file)},
    }
    section = FcmSettings(credentials=Secret(json.dumps(external)), project_id="shop")
    settings = Settings(fcm=section)
    assert isinstance(PROVIDER.credential(settings, ""), CheckedCredential)
    with pytest.raises(CredentialError, match=r"credential_source\.file"):
        PROVIDER.check(settings, "")
    file.write_text("token")
    assert PROVIDER.check(settings, "") == PROVIDER.credential(settings, "")


def test_without_a_credential_no_server_is_checked() -> None:
    assert PROVIDER.credential(Settings(), "") is None
    assert PROVIDER.check(Settings(), "") is None
    assert list(PROVIDER.servers(Settings(), "")) == []
