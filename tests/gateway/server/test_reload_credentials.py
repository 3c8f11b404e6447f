"""Credentials of a gateway as a process: no temporary file, reload, and nothing of a key in what is written."""

import json
from pathlib import Path

from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.simulators.keys import make_service_account
from tests.conftest import StartGateway
from tests.gateway.server.test_reload_under_load import change, logged
from tests.support.gateway import Gateway
from tests.support.providers import TOPIC, provider_settings
from tests.support.redis import store_client
from tests.support.rhoconnect import Client, android, apple, lay_user

NO_TEMPORARY_FILES = """
import tempfile
def refused(*args, **kwargs):
    raise FileNotFoundError("No usable temporary directory found")
tempfile.tempdir = None
for name in ("gettempdir", "mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile", "_get_default_tempdir"):
    setattr(tempfile, name, refused)
"""
PIN = "ab" * 32
FID = "cDe_f-gH0123456789abcd"


async def lay(gateway: Gateway, devices: list[Client]) -> None:
    async with store_client(gateway.data_dir / "valkey" / "valkey.sock") as redis:
        await lay_user(redis, "bob", devices)


async def test_a_gateway_without_temporary_files_sends_by_certificate_external_account_and_installation(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    (tmp_path / "no-temporary-files").mkdir()
    (tmp_path / "no-temporary-files" / "sitecustomize.py").write_text(NO_TEMPORARY_FILES)
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        pem = apns.client_certificate([TOPIC]).pem
        (tmp_path / "apple.pem").write_bytes(
            pem.replace(b"-----\n-----", b"----------").replace(b"\n", b"\r")
        )
        account = fcm.make_external_account(fcm.project_id, tmp_path / "subject-token")
        (tmp_path / "account.json").write_text(json.dumps(account))
        settings = provider_settings(apns, fcm)
        to_apns = {name: settings["apns"][name] for name in ("host", "port", "ca_file")}
        settings["apns"] = {**to_apns, "certificate_file": str(tmp_path / "apple.pem")}
        settings["fcm"]["credentials_file"] = str(tmp_path / "account.json")
        gateway = await start_gateway(settings, environ={"PYTHONPATH": str(tmp_path / "no-temporary-files")})
        await lay(gateway, [apple(PIN), android(FID)])
        assert (await gateway.ping("bob", message="hello", wait=True)).status == 200
        assert [record.token for record in (*apns.received, *fcm.received)] == [PIN, FID]
        assert fcm.received[0].payload["message"]["fid"] == FID


async def test_a_malformed_account_leaves_the_old_one_in_force(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        settings = provider_settings(apns, fcm)
        gateway = await start_gateway(settings)
        await lay(gateway, [android("a-token")])
        assert (await gateway.ping("bob", message="one", wait=True)).status == 200
        for number, uri in enumerate(("https://[::1", "https://x:y/"), 1):
            bad = make_service_account(fcm.project_id, uri).json
            (tmp_path / f"bad-{number}.json").write_bytes(bad)
            change(gateway, fcm={**settings["fcm"], "credentials_file": str(tmp_path / f"bad-{number}.json")})
            await logged(gateway, "credential_update_failed", times=number)
            assert (await gateway.ping("bob", message="two", wait=True)).status == 200
        assert [record.status for record in fcm.received] == [200, 200, 200]
        assert "PRIVATE KEY" not in gateway.log.read_text()
