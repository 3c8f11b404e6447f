"""Files with which a gateway can use the simulators."""

from pathlib import Path

from gateway.delivery.credential_check import unusable_credentials
from gateway.delivery.provider_registry import installed
from gateway.settings import load
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.simulators.client_files import TOPIC, write_client_files
from gateway.simulators.simulation import ClientFiles


def clients(apns: ApnsSimulator, fcm: FcmSimulator) -> dict[str, ClientFiles]:
    simulations = installed().simulations()
    return {
        "apns": simulations["apns"].client_files(apns, TOPIC),
        "fcm": simulations["fcm"].client_files(fcm, TOPIC),
    }


async def test_a_gateway_can_use_them_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        settings = load(write_client_files(folder, clients(apns, fcm), "production"), "production", {})
        assert (settings.apns.host, settings.apns.port, settings.apns.topic) == (
            "127.0.0.1",
            apns.port,
            TOPIC,
        )
        assert (settings.fcm.project_id, settings.fcm.endpoint) == (fcm.project_id, fcm.endpoint)
        assert list(unusable_credentials(settings)) == []
        assert (folder / "apns-ca.pem").read_bytes() == apns.ca_pem


async def test_they_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        write_client_files(folder, clients(apns, fcm))
        write_client_files(folder, clients(apns, fcm))
    assert folder.stat().st_mode & 0o777 == 0o700
    files = list(folder.iterdir())
    assert len(files) == 6
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
