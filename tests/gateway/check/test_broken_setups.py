"""`rhopush check` on ten broken setups: its output names the cause and the remedy, and no secret."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator
from tests.support.gateway import ROOT

PASSWORD = "hush-hush-password"
RUN = "import sys; from gateway.cli import main; sys.exit(main())"
NO_APNS = "warn  apns                             no credential: Apple devices are not served\n"
NO_FCM = "warn  fcm                              no credential: Android devices are not served\n"
READ = "ok    settings                         read, 0 apps of their own\n"
EMBEDDED = "ok    redis                            embedded Valkey in FOLDER/data\n"


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
        "FAIL  apns                             FOLDER/certificate.pem: "
        "the certificate's file cannot be read: no private key in it\n"
        f"{NO_FCM}{EMBEDDED}"
        "FAIL  apns 127.0.0.1:PORT              connection refused\n"
    )
    server = {"host": "127.0.0.1", "port": parts.port}
    return Broken(1, READ + said, {"apns": {"certificate_file": path, **server}})


def account_cut_short(parts: Parts) -> Broken:
    text = json.dumps({"type": "service_account", "private_key": parts.key})[:-2]
    said = (
        "FAIL  fcm                              fcm.credentials: the FCM credentials must be the JSON of a "
        "service account or of another Google credential\n"
        f"{EMBEDDED}"
        "FAIL  fcm 127.0.0.1:PORT               connection refused\n"
    )
    fcm = {"credentials": text, "endpoint": f"https://127.0.0.1:{parts.port}"}
    return Broken(1, READ + NO_APNS + said, {"fcm": fcm})


def provider_that_is_away(parts: Parts) -> Broken:
    said = (
        "ok    apns                             key ABC123DEFG of team DEF123GHIJ, topic com.example.app\n"
        f"{NO_FCM}{EMBEDDED}"
        "FAIL  apns 127.0.0.1:PORT              connection refused\n"
    )
    return Broken(1, READ + said, _apns(parts, key=parts.key))


def redis_that_is_away(parts: Parts) -> Broken:
    refused = "Redis does not answer: it cannot be reached (connection refused)\n"
    said = (
        f"FAIL  redis                            redis://127.0.0.1:PORT/0: {refused}"
        f"FAIL  rhoconnect                       {refused}"
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
    said = f"{EMBEDDED}FAIL  push_server 127.0.0.1:PORT       connection refused\n"
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


SETUPS = (
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
async def test_the_cause_is_named_and_no_secret(broken: Any, parts: Parts, redis_client: Redis) -> None:
    setup: Broken = broken(parts)
    environ = {name: text for name, text in os.environ.items() if not name.startswith(("RHOPUSH_", "REDIS"))}
    with _written(parts, setup) as file:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", RUN, "check", "--settings", str(file), "--env", "development"],
            cwd=ROOT,
            env=environ | setup.environ,
            capture_output=True,
            text=True,
        )
    said = (done.stdout + done.stderr).replace(str(parts.folder), "FOLDER").replace(parts.store, "STORE")
    said = said.replace(await _product(redis_client), "PRODUCT")
    # The port's length moves the column behind it.
    lines = [line.replace(f"127.0.0.1:{parts.port}", "127.0.0.1:PORT") for line in said.splitlines()]
    assert [line.split() for line in lines] == [line.split() for line in setup.says.splitlines()]
    assert done.returncode == setup.status
    for secret in (PASSWORD, *(line for line in parts.key.splitlines() if "KEY" not in line)):
        assert secret not in done.stdout + done.stderr
