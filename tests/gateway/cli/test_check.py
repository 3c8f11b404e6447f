"""`rhopush check`: one line for each thing looked at, and an exit status."""

import asyncio
import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.check.checks import EXPIRY_WARNING_S, expiry
from gateway.check.findings import Finding, Level
from gateway.cli import check as commands_check
from gateway.cli import main
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.simulators.keys import make_team_key
from tests.support.faketime import FakeTime
from tests.support.ports import free_port
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer


def check(
    folder: Path, gateway: dict[str, Any], capsys: pytest.CaptureFixture[str], **app: Any
) -> tuple[int, str]:
    file = folder / "settings.yml"
    file.write_text(yaml.safe_dump({"development": {"gateway": gateway, **app}}))
    status = main(["check", "--settings", str(file), "--env", "development"])
    return status, capsys.readouterr().out


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS", "REDIS_URL", "API_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(
        "RHOPUSH_RHOCONNECT_PUSH_PORT", "0"
    )  # another gateway on this host may have the default


def test_nothing_configured_is_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = check(tmp_path, {}, capsys)
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", "settings"],
        ["warn", "apns"],
        ["warn", "fcm"],
        ["ok", "redis"],
    ]
    assert f"embedded Valkey in {tmp_path}/data" in out


def test_files_that_others_may_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data").chmod(0o755)
    files = {name: tmp_path / name for name in ("key.p8", "account.json", "app.pem", "rps.pem")}
    for file in (*files.values(), tmp_path / "data" / "api_token"):
        file.write_text("secret")
        file.chmod(0o644)
    said = {
        "data_dir": str(tmp_path / "data"),
        "apns": {"key_file": str(files["key.p8"]), "key_id": "A", "team_id": "B", "topic": "t"},
        "fcm": {"credentials_file": str(files["account.json"])},
        "apps": {"com.x": {"apns": {"certificate_file": str(files["app.pem"])}}},
        "rhoconnect_push": {"certificate_file": str(files["rps.pem"])},
    }
    _, out = check(tmp_path, said, capsys)
    told = [line for line in out.splitlines() if line.split()[:2] == ["warn", "files"]]
    places = [
        f"{tmp_path}/data may be read",
        f"api_token: {tmp_path}/data/api_token may be read",
        f"apns.key_file: {files['key.p8']} may be read",
        f"fcm.credentials_file: {files['account.json']} may be read",
        f"apps.com.x.apns.certificate_file: {files['app.pem']} may be read",
        f"rhoconnect_push.certificate_file: {files['rps.pem']} may be read",
    ]
    assert len(told) == len(places)
    for line, place in zip(told, places, strict=True):
        assert place in line
    for file in (*files.values(), tmp_path / "data" / "api_token"):
        file.chmod(0o600)
    (tmp_path / "data").chmod(0o700)
    _, out = check(tmp_path, said, capsys)
    assert "may be" not in out


@pytest.mark.parametrize("redis", [False, True])
def test_a_data_folder_that_would_be_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], redis: bool
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    said = {"data_dir": str(tmp_path / "data")} | ({"redis": "127.0.0.1:1"} if redis else {})
    status, out = check(tmp_path, said, capsys)
    assert status == 1
    assert f"{tmp_path}/data may be written by every user of this machine" in out


async def test_a_complete_setup_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:

    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        certificate = apns.client_certificate(["com.example.store"])
        (tmp_path / "store.pem").write_bytes(certificate.pem)
        said = provider_settings(apns, fcm)
        said["apps"] = {"com.example.store": {"apns": {"certificate_file": str(tmp_path / "store.pem")}}}
        status, out = await asyncio.to_thread(check, tmp_path, said, capsys)
        assert (
            f"key {apns.signing_key.key_id} of team {apns.signing_key.team_id}, topic com.example.app" in out
        )
        assert "apns (com.example.store)" in out
        assert "certificate for com.example.store, valid for" in out
        assert f"project {fcm.project_id}" in out
        assert f"apns 127.0.0.1:{apns.port}" in out
        assert out.count("connected in") >= 2
        assert ("FAIL" in out, status) == (False, 0)
        assert "PRIVATE KEY" not in out


def test_a_problem_gives_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unused_tcp_port: int
) -> None:
    (tmp_path / "nonsense.p8").write_text("no key")
    (tmp_path / "account.json").write_text("{}")
    said = {
        "apns": {
            "key_file": "nonsense.p8",
            "key_id": "ABC123DEFG",
            "team_id": "DEF123GHIJ",
            "host": "127.0.0.1",
            "port": unused_tcp_port,
        },
        "fcm": {"credentials_file": "account.json", "endpoint": f"http://127.0.0.1:{unused_tcp_port}"},
        "apps": {"com.x": {"apns": {"certificate_file": "none.pem"}}},
    }
    status, out = check(tmp_path, said, capsys, redis=f"unix://{tmp_path}/none")
    assert status == 1
    failed = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert any("apns " in line and "must be an unencrypted PEM private key" in line for line in failed)
    assert any("apns (com.x)" in line and "none.pem: No such file" in line for line in failed)
    assert any("fcm " in line and "service_account" in line for line in failed)
    assert any("redis " in line and "does not answer" in line for line in failed)
    assert sum("connection refused" in line for line in failed) == 1


@pytest.mark.parametrize(
    ("options", "durability", "status", "words"),
    [
        ({}, "memory", 0, "append-only file on"),
        ({}, "fsync", 1, "appendfsync is everysec"),
        ({"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"}, "memory", 0, "eviction is allkeys-lru"),
    ],
)
def test_redis_is_compared_with_the_required_durability(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, str],
    durability: str,
    status: int,
    words: str,
) -> None:
    with RedisServer("redis", persist=True, options=options) as server:
        found, out = check(tmp_path, {"queue": {"durability": durability}}, capsys, redis=server.address)
    assert (found, words in out) == (status, True)


def test_unreadable_authorities_are_one_line_for_each_redis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    said = {"queue": {"redis": f"rediss://127.0.0.1:1?ssl_ca_certs={tmp_path}/ca.pem"}}
    status, out = check(tmp_path, said, capsys, redis=f"rediss://127.0.0.1:1?ssl_ca_certs={tmp_path}/none")
    assert status == 1
    failed = [line.split(maxsplit=2) for line in out.splitlines() if line.startswith("FAIL")]
    assert failed == [
        ["FAIL", "redis", f"redis: ssl_ca_certs={tmp_path}/none: no such file or directory"],
        ["FAIL", "queue.redis", f"queue.redis: ssl_ca_certs={tmp_path}/ca.pem: not usable as PEM"],
    ]


@pytest.mark.parametrize(
    ("app", "gateway", "words"),
    [
        ({"redis": "redis://db?timeout=3"}, {}, "redis: not a Redis address: unknown option 'timeout'"),
        ({"redis": ["db", "redis://db?x=1"]}, {}, "redis: not a Redis address: unknown option 'x'"),
        ({}, {"resque": {"redis": "db:x/shop"}}, "resque.redis: not a Redis address: the port"),
    ],
)
def test_a_wrong_address_gives_exit_status_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    app: dict[str, Any],
    gateway: dict[str, Any],
    words: str,
) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(yaml.safe_dump({"development": {"gateway": gateway, **app}}))
    assert main(["check", "--settings", str(file), "--env", "development"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"rhopush check: {words}")


def test_resques_form_of_an_address_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RedisServer("valkey") as server:
        said = {"resque": {"redis": f"{server.address}&namespace=shop"}}
        assert check(tmp_path, said, capsys, redis=server.address)[0] == 0
        assert check(tmp_path, {"resque": {"redis": "127.0.0.1:1/shop"}}, capsys)[0] == 0


DAY_S = datetime.timedelta(days=1).total_seconds()


@pytest.mark.parametrize(
    ("left_s", "level"),
    [
        (-1, Level.BAD),
        (0, Level.BAD),
        (1, Level.WARNING),
        (EXPIRY_WARNING_S, Level.GOOD),
        (400 * DAY_S, Level.GOOD),
    ],
)
def test_a_certificate_is_judged_by_the_time_left(left_s: float, level: Level) -> None:
    finding = expiry("apns", "certificate", left_s)
    assert finding.level is level
    if left_s > DAY_S:
        assert f"valid for {int(left_s / DAY_S)} more days" in finding.text


@pytest.mark.parametrize("command", ["check", "serve"])
@pytest.mark.parametrize(
    ("variable", "instead"),
    [
        ("RHOPUSH_APNS_KEY_FILE", "apns.key takes the text"),
        ("RHOPUSH_APNS_CERTIFICATE_FILE", "write the text into a file"),
        ("RHOPUSH_FCM_CREDENTIALS_FILE", "fcm.credentials takes the text"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "fcm.credentials takes the text"),
    ],
)
def test_key_text_in_the_place_of_a_path_is_not_shown(
    variable: str, instead: str, command: str, tmp_path: Path
) -> None:
    key = make_team_key().pem.decode()
    environ = {**os.environ, variable: key, "RHOPUSH_DATA_DIR": str(tmp_path / "data")}
    program = "import sys; from gateway.cli import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", program, command], env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert instead in ended.stderr and variable in ended.stderr
    for line in key.splitlines():
        assert line not in ended.stdout + ended.stderr


def test_the_output_is_redacted_like_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_team_key().pem.decode()
    found = [Finding(Level.BAD, "apns", f"no use: {key}"), Finding(Level.BAD, key, "x")]
    monkeypatch.setattr(commands_check, "check_credentials", lambda settings: found)
    _, out = check(tmp_path, {}, capsys)
    assert "no use: ***" in out
    for line in key.splitlines():
        assert line not in out


@pytest.mark.parametrize(
    ("ahead_s", "words"), [(0, ""), (3_600, "3600 s ahead of"), (-86_400, "86400 s behind")]
)
def test_a_clock_that_differs_from_redis_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ahead_s: int, words: str
) -> None:
    clock = FakeTime(tmp_path)
    clock.set(ahead_s)
    with RedisServer("valkey", persist=True, environ=clock.environ) as server:
        status, out = check(tmp_path, {}, capsys, redis=server.address)
    assert (status, "its clock is" in out) == (0, bool(words))
    assert words in out.replace("86401", "86400").replace("3599", "3600")


def test_a_database_that_does_not_exist_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    with RedisServer("valkey", options={"port": str(port)}):
        status, out = check(tmp_path, {}, capsys, redis=f"redis://127.0.0.1:{port}/99")
    (line,) = (line for line in out.splitlines() if line.split()[1] == "redis")
    assert (status, line.split()[0]) == (1, "FAIL")
    assert line.endswith("Redis refuses: DB index is out of range: correct the setting redis")
