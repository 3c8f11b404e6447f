"""Every file that `serve` reads is read by `rhopush check`, with the same reader."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.check.checks import (
    check_credentials,
    check_files,
    check_provider,
    check_push_certificate,
    providers,
)
from gateway.check.findings import Finding, Level
from gateway.errors import BadSetting, UnsafeFile
from gateway.metrics import Metrics
from gateway.server.data_dir import ID_FILE, DataDir, DataDirInUse
from gateway.server.id_secret import read_copy
from gateway.server.rhoconnect_push import open_mailbox, open_rhoconnect_push
from gateway.settings import ApnsSettings, FcmSettings, RhoConnectPushSettings, Secret, Settings
from gateway.simulators.authority import Authority, ClientCertificate
from tests.support.apns_environments import apples

FOLDER = "FOLDER"


class Pair(NamedTuple):
    """The parts of a certificate as PEM."""

    certificate: str
    key: str


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def pair(authority: Authority, **more: Any) -> Pair:
    made: ClientCertificate = authority.client_certificate(["push.example.com"], **more)
    certificate = made.certificate_pem.decode()
    return Pair(certificate, made.pem.decode().removeprefix(certificate))


def written(folder: Path, **texts: str) -> dict[str, Path]:
    """Files of these names and contents, for their owner alone."""
    files = {name: folder / f"{name}.pem" for name in texts}
    for name, text in texts.items():
        files[name].write_text(text)
        files[name].chmod(0o600)
    return files


Make = Callable[[Path, Authority], RhoConnectPushSettings]


def no_certificate_file(folder: Path, _: Authority) -> RhoConnectPushSettings:
    return RhoConnectPushSettings(certificate_file=folder / "none.pem")


def no_key_file(folder: Path, authority: Authority) -> RhoConnectPushSettings:
    files = written(folder, own=pair(authority).certificate)
    return RhoConnectPushSettings(certificate_file=files["own"], key_file=folder / "none.pem")


def no_key_at_all(folder: Path, authority: Authority) -> RhoConnectPushSettings:
    return RhoConnectPushSettings(certificate_file=written(folder, own=pair(authority).certificate)["own"])


def key_of_another(folder: Path, authority: Authority) -> RhoConnectPushSettings:
    files = written(folder, own=pair(authority).certificate, other=pair(authority).key)
    return RhoConnectPushSettings(certificate_file=files["own"], key_file=files["other"])


def key_text_as_path(folder: Path, authority: Authority) -> RhoConnectPushSettings:
    own = pair(authority)
    files = written(folder, own=own.certificate)
    return RhoConnectPushSettings(certificate_file=files["own"], key_file=Path(own.key))


def certificate_text_as_path(folder: Path, authority: Authority) -> RhoConnectPushSettings:
    own = pair(authority)
    return RhoConnectPushSettings(certificate_file=Path(own.certificate + own.key))


def damaged_certificate(folder: Path, authority: Authority) -> RhoConnectPushSettings:
    own = pair(authority)
    lines = own.certificate.splitlines()
    return RhoConnectPushSettings(
        certificate_file=written(folder, own="\n".join([*lines[:3], *lines[5:], own.key]))["own"]
    )


def no_pem(folder: Path, _: Authority) -> RhoConnectPushSettings:
    return RhoConnectPushSettings(certificate_file=written(folder, own="hello")["own"])


def folder_as_key(folder: Path, authority: Authority) -> RhoConnectPushSettings:
    return RhoConnectPushSettings(
        certificate_file=written(folder, own=pair(authority).certificate)["own"], key_file=folder
    )


BROKEN: dict[Make, str] = {
    no_certificate_file: "rhoconnect_push.certificate_file: FOLDER/none.pem: No such file or directory",
    no_key_file: "rhoconnect_push.key_file: FOLDER/none.pem: No such file or directory",
    no_key_at_all: "rhoconnect_push.certificate_file: FOLDER/own.pem: "
    "the certificate's file cannot be read: no private key in it; export the certificate with its key",
    key_of_another: "rhoconnect_push.certificate_file: FOLDER/own.pem with rhoconnect_push.key_file FOLDER/other.pem: "
    "the certificate and its key do not match",
    key_text_as_path: "rhoconnect_push.key_file: expected the path of a file, found a text that is not a path; "
    "write the text into a file and name that",
    certificate_text_as_path: "rhoconnect_push.certificate_file: expected the path of a file, found a text that is not "
    "a path; write the text into a file and name that",
    damaged_certificate: "rhoconnect_push.certificate_file: FOLDER/own.pem: "
    "a certificate in the certificate's file cannot be read",
    no_pem: "rhoconnect_push.certificate_file: FOLDER/own.pem: the certificate's file is neither PEM nor PKCS#12, "
    "or the passphrase is wrong",
    folder_as_key: "rhoconnect_push.key_file: FOLDER: Is a directory",
}


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_fault_of_the_push_services_certificate_is_named(
    make: Make, tmp_path: Path, authority: Authority
) -> None:
    (found,) = check_push_certificate(Settings(rhoconnect_push=make(tmp_path, authority)))
    assert (found.level, found.subject) == (Level.BAD, "rhoconnect_push")
    assert found.text.replace(str(tmp_path), FOLDER) == BROKEN[make]


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
async def test_the_start_of_the_service_reports_the_same_error(
    make: Make, tmp_path: Path, authority: Authority, redis_address: str
) -> None:
    said = Settings(
        redis=Secret(redis_address), data_dir=tmp_path / "data", rhoconnect_push=make(tmp_path, authority)
    )
    (tmp_path / "data").mkdir(mode=0o700)
    async with open_mailbox(said) as store:
        assert store is not None
        with socket.create_server(("127.0.0.1", 0)) as sock, pytest.raises(BadSetting) as refused:
            async with open_rhoconnect_push(said, store, sock, Metrics()):
                pass
    assert refused.value.message.replace(str(tmp_path), FOLDER) == BROKEN[make]


def test_a_good_certificate_is_listed_with_its_expiry(tmp_path: Path, authority: Authority) -> None:
    own, old = pair(authority), pair(authority, valid_s=-60)
    files = written(tmp_path, own=own.certificate + own.key, certificate=own.certificate, key=own.key)
    files |= written(tmp_path, old=old.certificate + old.key)
    for rhoconnect_push in (
        RhoConnectPushSettings(certificate_file=files["own"]),
        RhoConnectPushSettings(certificate_file=files["certificate"], key_file=files["key"]),
    ):
        (found,) = check_push_certificate(Settings(rhoconnect_push=rhoconnect_push))
        assert found.level is Level.GOOD
        assert found.text.startswith(f"certificate {rhoconnect_push.certificate_file}, valid for 36")
    (found,) = check_push_certificate(
        Settings(rhoconnect_push=RhoConnectPushSettings(certificate_file=files["old"]))
    )
    assert (found.level, found.text) == (Level.BAD, f"certificate {files['old']} has expired")


def test_a_key_without_a_certificate_is_warned_about(tmp_path: Path) -> None:
    (found,) = check_push_certificate(
        Settings(rhoconnect_push=RhoConnectPushSettings(key_file=tmp_path / "key.pem"))
    )
    assert found.level is Level.WARNING
    assert "devices connect without TLS" in found.text


def test_files_that_the_gateway_does_not_read_are_not_checked(tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    assert (
        check_push_certificate(
            Settings(rhoconnect_push=RhoConnectPushSettings(mode="client", certificate_file=missing))
        )
        == []
    )
    assert check_push_certificate(Settings()) == []


# -- the data folder ------------------------------------------------------------------------------------------


def test_a_data_folder_that_is_a_file_is_named_with_any_redis(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    found = check_files(Settings(redis=Secret("127.0.0.1:1"), data_dir=tmp_path / "data"))[-1]
    assert (found.level, found.subject) == (Level.BAD, "data_dir")
    with pytest.raises(DataDirInUse):
        DataDir(tmp_path / "data").lock()


@pytest.mark.parametrize("name", ["api_token", "gateway_id"])
@pytest.mark.parametrize("kind", ["bytes", "pipe", "long"])
def test_a_kept_file_that_a_start_would_refuse_is_named(tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    file = folder / name
    if kind == "pipe":
        os.mkfifo(file, 0o600)
    else:
        file.write_bytes(b"\xff\xfe" if kind == "bytes" else b"x" * 1_000_000)
        file.chmod(0o600)
    settings = Settings(redis=Secret("127.0.0.1:1"), data_dir=folder)
    kept = DataDir(folder)
    with pytest.raises((DataDirInUse, UnsafeFile)) as refused:
        kept.api_token() if name == "api_token" else kept.gateway_id()
    assert check_files(settings)[-1] == Finding(Level.BAD, "data_dir", refused.value.message)
    file.unlink()
    assert check_files(settings) == []
    assert list(folder.iterdir()) == [], "check makes nothing"


def test_a_token_of_the_settings_needs_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "api_token").write_bytes(b"\xff")
    (folder / "api_token").chmod(0o600)
    said = Settings(redis=Secret("127.0.0.1:1"), data_dir=folder, api_token=Secret("t"))
    assert check_files(said) == []


def test_a_damaged_copy_of_the_ids_secret_is_warned_about(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    settings = Settings(redis=Secret("127.0.0.1:1"), data_dir=folder)
    for text, good in {"ab" * 32: True, "nonsense": False}.items():
        (folder / ID_FILE).write_text(text)
        (folder / ID_FILE).chmod(0o600)
        assert (read_copy(folder / ID_FILE) is not None) is good
        found = check_files(settings)
        assert [one.level for one in found] == ([] if good else [Level.WARNING])
    assert "is no secret" in found[0].text
    assert check_files(Settings(data_dir=folder, rhoconnect_push=RhoConnectPushSettings(mode="off"))) == []


# -- Google's external accounts -------------------------------------------------------------------------------


def test_the_token_file_of_an_external_account_is_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    account = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(file)},
    }
    fcm = FcmSettings(credentials=Secret(json.dumps(account)), project_id="p")
    (found,) = (one for one in check_credentials(Settings(fcm=fcm)) if one.subject == "fcm")
    assert (found.level, found.text) == (
        Level.BAD,
        f"credential_source.file: {file}: No such file or directory",
    )
    file.write_text("token")
    (found,) = (one for one in check_credentials(Settings(fcm=fcm)) if one.subject == "fcm")
    assert found.level is Level.GOOD


async def test_both_hosts_are_checked(unused_tcp_port: int) -> None:
    async with apples() as both:
        apns = ApnsSettings(
            key=Secret("hush"),
            key_id="ABC123DEFG",
            team_id="DEF123GHIJ",
            environment="auto",
            host="127.0.0.1",
            port=both.production.port,
            sandbox_host="127.0.0.1",
            sandbox_port=unused_tcp_port,
            ca_file=Path(both.production.ca_file),
        )
        found = [await check_provider(one) for one in providers(Settings(apns=apns))]
        assert [(one.level, one.subject) for (one,) in found] == [
            (Level.GOOD, f"apns 127.0.0.1:{both.production.port}"),
            (Level.BAD, f"apns sandbox 127.0.0.1:{unused_tcp_port}"),
        ]


@pytest.mark.parametrize("host", ["a..b", "...", f"{'x' * 64}.example", "x" * 300])
async def test_a_host_that_no_server_can_have_is_named(host: str) -> None:
    said = Settings(
        apns=ApnsSettings(key=Secret("hush"), key_id="ABC123DEFG", team_id="DEF123GHIJ", host=host),
        fcm=FcmSettings(credentials=Secret("metadata"), endpoint=f"https://{host}"),
        push_server=Secret(f"http://someapp@{host}/"),
        rhoconnect_push=RhoConnectPushSettings(mode="client"),
    )
    found = {one.name: await check_provider(one) for one in providers(said) if one.host == host.lower()}
    assert found.keys() >= {"apns", "push_server"}
    for name, (finding,) in found.items():
        assert (finding.level, name) == (Level.BAD, name)
        assert finding.text.startswith("not a valid host name: check ")
