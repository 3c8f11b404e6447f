"""`rhopush check` on broken setups: its output names the cause and the remedy, and no secret."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from redis.asyncio import Redis

from gateway.cli import main
from gateway.simulators import ApnsSimulator

PASSWORD = "hush-hush-password"
NO_APNS = "warn  apns                             no credential: Apple devices are not served\n"
NO_FCM = "warn  fcm                              no credential: Android devices are not served\n"
READ = "ok    settings                         read, 0 apps of their own\n"
AWAY = "connection refused: check apns.host and apns.port and the network between (name server, firewall, proxy)\n"
EMBEDDED = "ok    redis                            embedded Valkey in FOLDER/data\n"


EXTERNAL = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://127.0.0.1:1/token",
}


@dataclass
class Broken:
    """A set-up, and what `check` says of it. FOLDER, PORT and STORE stand for this run's own."""

    status: int
    says: str
    gateway: dict[str, Any] = field(default_factory=dict)
    app: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)


class Parts(NamedTuple):
    """The parts of the setups."""

    folder: Path
    port: int
    key: str
    certificate: str
    store: str


@pytest.fixture
async def parts(tmp_path: Path, redis_client: Redis, redis_address: str) -> Parts:
    async with ApnsSimulator() as apns:
        key = apns.key_file.read_text()
        pem = apns.client_certificate(["com.example.app"]).pem.decode()
    end = "-----END CERTIFICATE-----\n"
    certificate = pem[pem.index("-----BEGIN CERTIFICATE") : pem.index(end) + len(end)]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return Parts(tmp_path, port, key, certificate, redis_address)


def _file(parts: Parts, name: str, text: str) -> str:
    file = parts.folder / name
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


def _apns(parts: Parts, **more: Any) -> dict[str, Any]:
    named = {"key_id": "ABC123DEFG", "team_id": "DEF123GHIJ", "topic": "com.example.app"}
    return {"apns": {**named, "host": "127.0.0.1", "port": parts.port, **more}}


def key_in_the_place_of_a_path(parts: Parts) -> Broken:
    said = (
        "rhopush check: apns.key_file: expected the path of a file, found a text that is not a path; "
        "apns.key takes the text itself (FOLDER/settings.yml, line 5)\n"
    )
    return Broken(2, said, _apns(parts, key_file=parts.key))


def account_in_the_place_of_a_path(parts: Parts) -> Broken:
    said = (
        "rhopush check: fcm.credentials_file: expected the path of a file, found a text that is not a path; "
        "fcm.credentials takes the text itself (environment variable GOOGLE_APPLICATION_CREDENTIALS)\n"
    )
    text = json.dumps({"type": "service_account", "private_key": parts.key})
    return Broken(2, said, environ={"GOOGLE_APPLICATION_CREDENTIALS": text})


def unknown_setting(parts: Parts) -> Broken:
    said = "rhopush check: apns.prot: unknown setting; did you mean port? (FOLDER/settings.yml, line 4)\n"
    return Broken(2, said, {"apns": {"prot": PASSWORD}})


def certificate_without_its_key(parts: Parts) -> Broken:
    path = _file(parts, "certificate.pem", parts.certificate)
    said = (
        "FAIL  apns                             apns.certificate_file: FOLDER/certificate.pem: "
        "the certificate's file cannot be read: no private key in it; export the certificate with its key\n"
        f"{NO_FCM}{EMBEDDED}"
        f"FAIL  apns 127.0.0.1:PORT              {AWAY}"
    )
    server = {"host": "127.0.0.1", "port": parts.port}
    return Broken(1, READ + said, {"apns": {"certificate_file": path, **server}})


def account_cut_short(parts: Parts) -> Broken:
    text = json.dumps({"type": "service_account", "private_key": parts.key})[:-2]
    said = (
        "FAIL  fcm                              fcm.credentials: the FCM credentials must be the JSON of a "
        "service account or of another Google credential; the text begins as JSON, but is cut off or altered: "
        "copy the whole file again\n"
        f"{EMBEDDED}"
        f"FAIL  fcm 127.0.0.1:PORT               {AWAY.replace('apns.host and apns.port', 'fcm.endpoint')}"
    )
    fcm = {"credentials": text, "endpoint": f"https://127.0.0.1:{parts.port}"}
    return Broken(1, READ + NO_APNS + said, {"fcm": fcm})


def provider_that_is_away(parts: Parts) -> Broken:
    said = (
        "ok    apns                             key ABC123DEFG of team DEF123GHIJ, topic com.example.app\n"
        f"{NO_FCM}{EMBEDDED}"
        f"FAIL  apns 127.0.0.1:PORT              {AWAY}"
    )
    return Broken(1, READ + said, _apns(parts, key=parts.key))


def redis_that_is_away(parts: Parts) -> Broken:
    refused = "Redis does not answer: it cannot be reached (connection refused)"
    said = (
        f"FAIL  redis                            redis://127.0.0.1:PORT/0: {refused}: "
        "start Redis, or correct the setting redis\n"
        f"FAIL  rhoconnect                       users and devices were not counted: {refused}\n"
    )
    address = f"redis://:{PASSWORD}@127.0.0.1:{parts.port}/0"
    return Broken(1, READ + NO_APNS + NO_FCM + said, app={"redis": address})


def redis_that_sends_no_keyspace_notifications(parts: Parts) -> Broken:
    said = (
        "ok    redis                            STORE: PRODUCT, append-only file off, eviction noeviction\n"
        "warn  redis                            the append-only file is off: a crash of Redis loses pings "
        "that were answered with 200\n"
        "FAIL  events.keyspace                  STORE does not send them: set notify-keyspace-events to Kg$sh, "
        "or events.keyspace to configure\n"
    )
    app = {"redis": parts.store}
    return Broken(1, READ + NO_APNS + NO_FCM + said, {"events": {"keyspace": "listen"}}, app)


def push_server_that_is_away(parts: Parts) -> Broken:
    away = AWAY.replace("apns.host and apns.port", "push_server")
    said = f"{EMBEDDED}FAIL  push_server 127.0.0.1:PORT       {away}"
    app = {"push_server": f"http://someapp:{PASSWORD}@127.0.0.1:{parts.port}/"}
    return Broken(1, READ + NO_APNS + NO_FCM + said, {"rhoconnect_push": {"mode": "client"}}, app)


def folder_that_anybody_may_write(parts: Parts) -> Broken:
    folder = parts.folder / "open"
    folder.mkdir()
    folder.chmod(0o777)
    cause = "FOLDER/open may be written by every user of this machine: chmod o-rwx FOLDER/open\n"
    said = (
        "warn  files                            FOLDER/open may be written by its group\n"
        "warn  files                            FOLDER/open may be read by every user of this machine\n"
        f"FAIL  data_dir                         {cause}"
        f"{NO_APNS}{NO_FCM}"
        f"FAIL  redis                            {cause}"
    )
    return Broken(1, READ + said, {"data_dir": str(folder)})


def host_that_no_server_can_have(parts: Parts) -> Broken:
    away = AWAY.replace("connection refused", "not a valid host name")
    said = (
        "ok    apns                             key ABC123DEFG of team DEF123GHIJ, topic com.example.app\n"
        f"{NO_FCM}{EMBEDDED}"
        f"FAIL  apns push..example:443           {away}"
    )
    return Broken(1, READ + said, _apns(parts, key=parts.key, host="push..example", port=443))


def program_that_is_not_allowed(parts: Parts) -> Broken:
    source = {"executable": {"command": f"/bin/echo {PASSWORD}", "timeout_millis": 5_000}}
    text = json.dumps({**EXTERNAL, "credential_source": source})
    away = AWAY.replace("apns.host and apns.port", "fcm.endpoint")
    said = (
        "FAIL  fcm                              fcm.credentials: the FCM credentials run a program, which "
        "google-auth does only with GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1 in the environment\n"
        f"{EMBEDDED}"
        f"FAIL  fcm 127.0.0.1:PORT               {away}"
        f"FAIL  fcm tokens 127.0.0.1:1           {away.replace('fcm.endpoint', 'the URLs in the FCM credentials')}"
    )
    fcm = {"credentials": text, "project_id": "some-project", "endpoint": f"https://127.0.0.1:{parts.port}"}
    return Broken(1, READ + NO_APNS + said, {"fcm": fcm})


def redis_that_refuses_the_password(parts: Parts) -> Broken:
    refused = "Redis refuses: WRONGPASS invalid username-password pair or user is disabled."
    said = (
        f"FAIL  redis                            STORE: {refused[:-1]}: correct the setting redis\n"
        f"FAIL  rhoconnect                       users and devices were not counted: {refused}\n"
    )
    address = parts.store.replace("unix://", f"unix://someone:{PASSWORD}@")
    return Broken(1, READ + NO_APNS + NO_FCM + said, app={"redis": address})


SETUPS = (
    host_that_no_server_can_have,
    program_that_is_not_allowed,
    redis_that_refuses_the_password,
    key_in_the_place_of_a_path,
    account_in_the_place_of_a_path,
    unknown_setting,
    certificate_without_its_key,
    account_cut_short,
    provider_that_is_away,
    redis_that_is_away,
    redis_that_sends_no_keyspace_notifications,
    push_server_that_is_away,
    folder_that_anybody_may_write,
)


@contextlib.contextmanager
def _written(parts: Parts, setup: Broken) -> Iterator[Path]:
    gateway = {"data_dir": str(parts.folder / "data"), **setup.gateway}
    gateway["rhoconnect_push"] = {"port": 0, **setup.gateway.get("rhoconnect_push", {})}
    file = parts.folder / "settings.yml"
    file.write_text(yaml.safe_dump({"development": {**setup.app, "gateway": gateway}}))
    yield file


async def _product(redis_client: Redis) -> str:
    info = await redis_client.info("server")
    name = "valkey" if "valkey_version" in info else "redis"
    return f"{name} {info.get('valkey_version') or info['redis_version']}"


@pytest.mark.parametrize("broken", SETUPS, ids=lambda broken: broken.__name__)
async def test_the_cause_is_named_and_no_secret(
    broken: Any,
    parts: Parts,
    redis_client: Redis,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    setup: Broken = broken(parts)
    for name in os.environ:
        if name.startswith(("RHOPUSH_", "REDIS", "GOOGLE_")):
            monkeypatch.delenv(name)
    for name, text in setup.environ.items():
        monkeypatch.setenv(name, text)
    with _written(parts, setup) as file:
        status = await asyncio.to_thread(main, ["check", "--settings", str(file), "--env", "development"])
    out = "".join(capsys.readouterr())
    said = out.replace(str(parts.folder), "FOLDER").replace(parts.store, "STORE")
    said = said.replace(await _product(redis_client), "PRODUCT")
    # The port's length moves the column behind it.
    lines = [line.replace(f"127.0.0.1:{parts.port}", "127.0.0.1:PORT") for line in said.splitlines()]
    assert [line.split() for line in lines] == [line.split() for line in setup.says.splitlines()]
    assert status == setup.status
    for secret in (PASSWORD, *(line for line in parts.key.splitlines() if "KEY" not in line)):
        assert secret not in out
