"""The certificate of the RhoConnect Push service."""

import asyncio
import ssl
from pathlib import Path

import pytest

from gateway.errors import BadSetting
from gateway.server.push_certificate import push_context, read_push_certificate
from gateway.settings import RhoConnectPushSettings
from gateway.simulators import Authority


def test_without_a_certificate_the_service_is_plain() -> None:
    assert read_push_certificate(RhoConnectPushSettings()) is None
    assert push_context(RhoConnectPushSettings()) is None


async def test_devices_trust_a_certificate_whose_key_is_in_a_file_of_its_own(tmp_path: Path) -> None:
    authority = Authority(["localhost"])
    made = authority.client_certificate(["localhost"])
    (tmp_path / "own.pem").write_bytes(made.certificate_pem)
    (tmp_path / "key.pem").write_bytes(made.pem.removeprefix(made.certificate_pem))
    context = push_context(
        RhoConnectPushSettings(certificate_file=tmp_path / "own.pem", key_file=tmp_path / "key.pem")
    )
    device = ssl.create_default_context(cadata=authority.ca_pem.decode())
    device.check_hostname = False  # the certificate is a push client's, which names an app

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    shown = ssl.create_default_context()
    shown.check_hostname, shown.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=shown)
    assert await reader.read() == b"hello"
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    server.close()
    assert found == ssl.PEM_cert_to_DER_cert(made.certificate_pem.decode())


def test_two_files_that_do_not_match_are_named_without_their_content(tmp_path: Path) -> None:
    authority = Authority()
    one, other = (authority.client_certificate(["x"]) for _ in range(2))
    (tmp_path / "own.pem").write_bytes(one.certificate_pem)
    (tmp_path / "key.pem").write_bytes(other.pem.removeprefix(other.certificate_pem))
    with pytest.raises(BadSetting) as refused:
        read_push_certificate(
            RhoConnectPushSettings(certificate_file=tmp_path / "own.pem", key_file=tmp_path / "key.pem")
        )
    assert refused.value.field == "rhoconnect_push.certificate_file"
    assert str(tmp_path / "key.pem") in refused.value.message
    assert "BEGIN" not in refused.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"none\.pem: No such file") as refused:
        push_context(RhoConnectPushSettings(certificate_file=tmp_path / "none.pem"))
    assert refused.value.field == "rhoconnect_push.certificate_file"
