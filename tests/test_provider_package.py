"""A provider in a package of its own, `tests/provider_package`; no file of the gateway names it."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from tests.conftest import StartGateway
from tests.gateway.cli.test_demo import Demo
from tests.support.forks import Forks
from tests.support.gateway import ROOT
from tests.support.provider import Provider
from tests.support.rhoconnect import Client, lay_users

PACKAGE = Path(__file__).parent / "provider_package"
TOKEN = "a-courier-token"


@pytest.fixture(scope="session")
def courier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed in it, for PYTHONPATH: the environment of the tests stays as it is."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGE, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    return target


@pytest.fixture
async def servers() -> Any:
    async with Provider() as one, Provider() as other:
        yield one, other


def origin(server: Provider) -> str:
    return f"https://127.0.0.1:{server.port}"


def section(folder: Path, *servers: Provider, **more: Any) -> dict[str, Any]:
    ca_file = folder / "courier-ca.pem"
    ca_file.write_bytes(b"".join(server.ca.cert_pem.bytes() for server in servers))
    origins = [origin(server) for server in servers]
    return {"token": TOKEN, "ca_file": str(ca_file), "origins": origins, **more}


def device(server: Provider, number: int, **more: Any) -> Client:
    pin = f"{origin(server)}/parcel/{number}"
    return Client(device_type="ANDROID", push_type="courier", pin=pin, phone_id=f"phone{number}", **more)


def rhopush(
    forks: Forks, *words: str, path: Path, gateway: dict[str, Any], folder: Path, **environ: str
) -> Any:
    file = folder / "settings.yml"
    file.write_text(yaml.safe_dump({"development": {"gateway": {"data_dir": str(folder / "d"), **gateway}}}))
    kept = {"PATH": os.environ["PATH"], "RHOPUSH_RHOCONNECT_PUSH_PORT": "0", "PYTHONPATH": str(path)}
    return forks.run(ROOT, kept | environ, *words, "--settings", str(file), "--env", "development")


async def test_a_ping_reaches_two_devices_with_different_endpoints(
    courier: Path,
    servers: tuple[Provider, Provider],
    tmp_path: Path,
    redis_address: str,
    redis_client: Redis,
    start_gateway: StartGateway,
) -> None:
    one, other = servers
    stranger = Client(device_type="ANDROID", push_type="courier", pin="https://192.0.2.1/parcel/3")
    await lay_users(redis_client, {"bob": [device(one, 1), device(other, 2), stranger]})
    gateway = await start_gateway(
        {"courier": section(tmp_path, one, other)},
        app={"redis": redis_address},
        environ={"PYTHONPATH": str(courier)},
    )
    refused = await gateway.ping("bob", message="hello", courier={"url": "https://192.0.2.1/"})
    assert refused.status == 400
    assert json.loads(refused.body)["error"]["field"] == "courier.url"
    described = (await gateway.request("GET", "/openapi.json")).json()
    parameter = described["components"]["schemas"]["Ping"]["properties"]["courier"]
    assert parameter["description"] == "Raw additions to Courier's message. `url` cannot be set."
    answer = await gateway.ping("bob", message="hello", sources="Product", courier={"lane": 3}, wait=True)
    assert "X-Ping-Warning" not in answer.headers
    for server, number in ((one, 1), (other, 2)):
        (request,) = server.requests
        headers = dict(request.headers)
        assert headers[b":path"] == b"/parcel/%d" % number
        assert headers[b":authority"] == b"127.0.0.1:%d" % server.port
        assert headers[b"authorization"] == b"Bearer " + TOKEN.encode()
        assert json.loads(request.body) == {"text": "hello", "sources": ["Product"], "lane": 3}
    receipt = (await gateway.request("GET", f"/rc/v1/pings/{answer.ping_id}")).json()
    assert receipt["counts"]["accepted"] == 2
    (rejected,) = [one for one in receipt["devices"] if one["verdict"] != "accepted"]
    assert (rejected["provider"], rejected["reason"]) == ("courier", "invalid_device_token")
    lanes = [f'rhopush_lane_down{{lane="courier:courier@127.0.0.1:{server.port}"}} 0' for server in servers]
    async with asyncio.timeout(20):
        while True:  # a worker's values arrive once a second
            metrics = (await gateway.request("GET", "/metrics")).body.decode()
            if all(lane in metrics for lane in lanes):
                break
            await asyncio.sleep(0.1)


async def test_a_reload_changes_the_credential_and_takes_an_origin_away(
    courier: Path,
    servers: tuple[Provider, Provider],
    tmp_path: Path,
    redis_address: str,
    redis_client: Redis,
    start_gateway: StartGateway,
) -> None:
    one, other = servers
    await lay_users(redis_client, {"bob": [device(one, 1)], "ann": [device(other, 2)]})
    said = section(tmp_path, one, other)
    gateway = await start_gateway(
        {"courier": said}, app={"redis": redis_address}, environ={"PYTHONPATH": str(courier)}
    )
    assert (await gateway.ping(["bob", "ann"], message="hello", wait=True)).status == 200
    document = yaml.safe_load(gateway.settings_file.read_text())
    document["development"]["gateway"]["courier"] |= {"token": "another-token", "origins": [origin(one)]}
    gateway.settings_file.write_text(yaml.safe_dump(document))
    os.kill(gateway.supervisor, signal.SIGHUP)
    async with asyncio.timeout(20):
        while "settings_reloaded" not in gateway.log.read_text():
            await asyncio.sleep(0.05)
    while True:
        assert (await gateway.ping("bob", message="again", wait=True)).status == 200
        if dict(one.requests[-1].headers)[b"authorization"] == b"Bearer another-token":
            break
    answer = await gateway.ping("ann", message="again", wait=True)
    receipt = (await gateway.request("GET", f"/rc/v1/pings/{answer.ping_id}")).json()
    assert [one["reason"] for one in receipt["devices"]] == ["invalid_device_token"]
    assert len(other.requests) == 1


async def test_check_names_the_credential_error_and_tries_each_server(
    courier: Path, servers: tuple[Provider, Provider], tmp_path: Path, forks: Forks
) -> None:
    one, other = servers
    own = {"token_file": str(tmp_path / "missing")}
    gateway = {"courier": section(tmp_path, one, other), "apps": {"com.x": {"courier": own}}}
    said = await asyncio.to_thread(rhopush, forks, "check", path=courier, gateway=gateway, folder=tmp_path)
    lines = [line.split(maxsplit=1) for line in said.stdout.splitlines()]
    assert said.returncode == 1
    courier_lines = [" ".join(text.split()) for _, text in lines if text.startswith("courier")]
    assert courier_lines[0] == "courier account courier"
    assert courier_lines[1].startswith("courier (com.x) courier.token_file: ")
    assert courier_lines[1].endswith("missing: No such file or directory")
    for server in servers:
        assert any(line.startswith(f"courier 127.0.0.1:{server.port} connected") for line in courier_lines)
    assert TOKEN not in said.stdout + said.stderr


@pytest.mark.parametrize(
    ("gateway", "environ", "complaint"),
    [
        ({"courier": {"tokn": "x"}}, {}, "courier.tokn: unknown setting; did you mean token?"),
        (
            {"apps": {"com.x": {"courier": {"tokn": "x"}}}},
            {},
            "apps.com.x.courier.tokn: unknown setting; did you mean token?",
        ),
        (
            {},
            {"RHOPUSH_COURIER_DEADLINE_S": "soon"},
            "courier.deadline_s: expected a number, found text (environment variable RHOPUSH_COURIER_DEADLINE_S)",
        ),
        (
            {"courier": {"token": "x", "token_file": "y"}},
            {},
            "courier.token: give one credential, not token and token_file",
        ),
    ],
)
def test_a_wrong_setting_is_refused_by_name(
    forks: Forks,
    courier: Path,
    tmp_path: Path,
    gateway: dict[str, Any],
    environ: dict[str, str],
    complaint: str,
) -> None:
    said = rhopush(forks, "check", path=courier, gateway=gateway, folder=tmp_path, **environ)
    assert said.returncode == 2
    assert complaint in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_the_demo_has_a_device_of_the_package(courier: Path) -> None:
    demo = Demo(0, PYTHONPATH=str(courier))
    try:
        url = demo.line("ready ").removeprefix("ready ")
        token = demo.line("API token ").removeprefix("API token ")
        devices = demo.line("alice has an Apple device, bob has a Courier device, ")
        assert "carol has an Android device (FCM), dave has a RhoConnect Push device" in devices
        body = json.dumps({"user_id": "bob", "message": "hello", "sources": "Product", "wait": True})
        request = urllib.request.Request(f"{url}/rc/v1/users/ping", body.encode())
        request.add_header("Content-Type", "application/json")
        request.add_header("X-RhoConnect-API-TOKEN", token)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
        assert demo.line("courier ") == "courier /parcel/… 'hello' sync=Product"
    finally:
        demo.close()


def entry_point(folder: Path, package: str, name: str, value: str) -> None:
    facts = folder / f"{package}-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(f"[rhopush.providers]\n{name} = {value}\n")


@pytest.fixture(params=["serve", "check"])
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "torn.py").write_text("raise OSError('torn apart')\n")
    yield folder


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("torn", "torn:ENTRY", "entry point torn = torn:ENTRY of the package late: OSError: torn apart"),
        ("torn", "gateway.errors:BadSetting", "the object is not a ProviderEntry"),
        (
            "apns",
            "gateway.delivery.providers.apns_entry:ENTRY",
            "two providers have the name 'apns': entry point",
        ),
        ("other", "gateway.delivery.providers.apns_entry:ENTRY", "the provider has another name, 'apns'"),
    ],
)
def test_a_broken_entry_point_is_named_in_one_line(
    forks: Forks, broken: Path, tmp_path: Path, command: str, name: str, value: str, complaint: str
) -> None:
    entry_point(broken, "late", name, value)
    said = rhopush(forks, command, path=broken, gateway={}, folder=tmp_path)
    assert said.returncode == 2
    assert complaint in said.stderr
    assert "of the package late" in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_an_object_that_cannot_be_imported_ends_the_command(
    forks: Forks, broken: Path, tmp_path: Path, command: str
) -> None:
    entry = "from gateway.delivery.provider_entry import ProviderEntry\n"
    (broken / "late_entry.py").write_text(f'{entry}ENTRY = ProviderEntry("late", "torn:PROVIDER")\n')
    entry_point(broken, "late", "late", "late_entry:ENTRY")
    words = [command, "--port", "0"] if command == "serve" else [command]
    said = rhopush(forks, *words, path=broken, gateway={}, folder=tmp_path)
    assert said.returncode == 2
    assert "entry point late = late_entry:ENTRY of the package late: torn:PROVIDER" in said.stderr
    assert "Traceback" not in said.stderr
