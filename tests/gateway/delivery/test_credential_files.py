"""Credentials in files and texts, whichever provider they are for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.delivery.credential_files import read_file, text_of_setting, try_authorities
from gateway.delivery.providers.apns_credentials import read_apns
from gateway.delivery.providers.fcm_credentials import read_fcm
from gateway.errors import CredentialError
from gateway.settings import ApnsSettings, FcmSettings, Secret
from gateway.simulators.authority import Authority
from gateway.simulators.keys import make_service_account
from protocols.credential_text import TEXT_BYTES

ISSUED = Authority().client_certificate(["com.example.app"])
LEAF = ISSUED.certificate_pem
KEY = ISSUED.pem.removeprefix(LEAF)
ACCOUNT = make_service_account("some-project", "https://oauth2.googleapis.com/token")


def test_a_text_in_the_settings_needs_no_file() -> None:
    assert text_of_setting(Secret("key"), None, "courier.token_file") == b"key"


def test_a_long_file_is_cut_behind_the_longest_credential(tmp_path: Path) -> None:
    file = tmp_path / "long"
    file.write_bytes(b"x" * (TEXT_BYTES + 9))
    assert len(text_of_setting(None, file, "courier.token_file")) == TEXT_BYTES + 1


@pytest.mark.parametrize(("path", "words"), [("none", "No such file"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(CredentialError, match=rf"courier\.token_file: .*{words}") as refused:
        read_file(tmp_path / path, "courier.token_file")
    assert refused.value.field == "courier.token_file"


def test_authorities_that_are_none_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    try_authorities(None)
    with pytest.raises(CredentialError, match=r"ca\.pem"):
        try_authorities(file)


@pytest.mark.parametrize(
    ("said", "read", "instead"),
    [
        (ApnsSettings(key_file=Path(KEY.decode()), topic="t"), read_apns, r"apns\.key takes the text"),
        (ApnsSettings(certificate_file=Path((LEAF + KEY).decode())), read_apns, r"apns\.certificate_file"),
        (FcmSettings(credentials_file=Path(ACCOUNT.json.decode())), read_fcm, r"fcm\.credentials takes"),
        (FcmSettings(credentials_file=Path("a\0b")), read_fcm, r"fcm\.credentials takes"),
    ],
)
def test_a_key_in_the_place_of_a_path_is_not_shown(
    said: ApnsSettings, read: Callable[[object], object], instead: str
) -> None:
    with pytest.raises(CredentialError, match=instead) as refused:
        read(said)
    assert "PRIVATE KEY" not in refused.value.message
    assert KEY.decode().splitlines()[1] not in refused.value.message
