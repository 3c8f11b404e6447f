"""`rhopush ping` against a running gateway and a simulated Apple."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.gateway.delivered import Delivered, delivered
from tests.support.command import rhopush

REFUSED = "the gateway does not accept the API token: No API token provided"


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Delivered]:
    async with delivered(tmp_path) as both:
        yield both


async def rhopush_ping(folder: Path, *words: str, **environ: str) -> tuple[int | None, str, str]:
    return await rhopush(folder, "ping", *words, **environ)


async def test_it_prints_the_ping_or_each_devices_verdict(running: Delivered, tmp_path: Path) -> None:
    there = {"RHOPUSH_SERVER": running.gateway.url, "API_TOKEN": running.gateway.token}
    status, out, _ = await rhopush_ping(tmp_path, "--user", "good", "--message", "hello", **there)
    assert status == 0
    assert re.fullmatch(r"[0-9a-f]{32}\n", out)
    await running.apns.received.wait(1)

    words = [
        "--user",
        "good",
        "--sources",
        "A,B",
        "--badge",
        "2",
        "--sound",
        "s.mp3",
        "--vibrate",
        "2000",
        "--wait",
    ]
    status, out, _ = await rhopush_ping(tmp_path, *words, **there)
    assert status == 0
    assert out.splitlines()[1] == f"  {'good' * 8}  accepted"
    pushed = running.apns.received[1].summary
    assert (pushed.do_sync, pushed.badge, pushed.sound, str(pushed.vibrate)) == (
        ("A", "B"),
        2,
        "s.mp3",
        "2000",
    )

    status, out, _ = await rhopush_ping(
        tmp_path, "--user", "dead", "nobody", "--user", "empty", "--message", "x", "--wait", **there
    )
    assert status == 1
    assert f"  {'dead' * 8}  rejected  Unregistered\n" in out
    assert "  skipped 2: unknown_user\n" in out


async def test_a_ping_that_does_not_finish_before_the_timeout_is_named(
    running: Delivered, tmp_path: Path
) -> None:
    there = {"RHOPUSH_SERVER": running.gateway.url, "API_TOKEN": running.gateway.token}
    running.apns.hold()
    words = ["--user", "good", "--message", "x", "--wait", "--timeout", "3"]
    status, out, err = await rhopush_ping(tmp_path, *words, **there)
    running.apns.release()
    assert (status, err) == (1, "rhopush ping: not every device has a verdict after 3 s\n")
    assert re.fullmatch(r"ping [0-9a-f]{32}\n", out)


async def test_server_and_token_come_from_options_or_settings(running: Delivered, tmp_path: Path) -> None:
    url, token = running.gateway.url, running.gateway.token
    common = ["--user", "good", "--message", "hello", "--server", url]
    assert (await rhopush_ping(tmp_path, *common, "--token", token))[0] == 0
    assert (await rhopush_ping(tmp_path, *common, "--settings", "settings-tested-0.yml"))[0] == 0
    status, out, err = await rhopush_ping(tmp_path, *common, "--token", "wrong-token")
    assert (status, out, err) == (1, "", f"rhopush ping: {REFUSED}\n")


async def test_without_a_token_the_error_names_its_sources(tmp_path: Path) -> None:
    status, _, err = await rhopush_ping(tmp_path, "--user", "good")
    assert status == 2
    assert err.startswith(
        f"rhopush ping: no API token: set --token or API_TOKEN, or run on the host with {tmp_path}/data"
    )


async def test_an_unreachable_gateway_gives_exit_status_1(tmp_path: Path, unused_tcp_port: int) -> None:
    status, _, err = await rhopush_ping(
        tmp_path, "--user", "a", API_TOKEN="hush", RHOPUSH_SERVER=f"http://127.0.0.1:{unused_tcp_port}"
    )
    assert status == 1
    assert "cannot be reached" in err
    assert "hush" not in err


async def test_a_ping_may_name_devices_or_all_users(running: Delivered, tmp_path: Path) -> None:
    there = {"RHOPUSH_SERVER": running.gateway.url, "API_TOKEN": running.gateway.token}
    words = ["--device", "good" * 8, "nobody", "--badge", "+1", "--wait"]
    status, out, _ = await rhopush_ping(tmp_path, *words, **there)
    assert status == 0
    assert out.splitlines()[1:] == [f"  {'good' * 8}  accepted", "  skipped 1: unknown_device"]
    words = ["--all-users", "--message", "x", "--except-user", "dead", "slow", "--wait"]
    status, out, _ = await rhopush_ping(tmp_path, *words, **there)
    assert "  skipped 2: user_excluded\n" in out
    assert "dead" * 8 not in out
    for words in (["--message", "x"], ["--app", "a"], ["--file", "x", "--all-users"]):
        status, out, err = await rhopush_ping(tmp_path, *words, **there)
        assert (status, out) == (2, "")
        assert "--file" in err


async def test_the_devices_that_accept_a_broadcast_are_counted(running: Delivered, tmp_path: Path) -> None:
    there = {"RHOPUSH_SERVER": running.gateway.url, "API_TOKEN": running.gateway.token}
    words = ["--all-users", "--except-user", "slow", "--message", "x", "--wait"]
    status, out, _ = await rhopush_ping(tmp_path, *words, **there)
    assert status == 1
    assert out.splitlines()[1:3] == [
        f"  {'dead' * 8}  rejected  Unregistered",
        "  accepted 1: the receipt of a broadcast lists only the others",
    ]


async def test_a_ping_may_be_delivered_later(running: Delivered, tmp_path: Path) -> None:
    there = {"RHOPUSH_SERVER": running.gateway.url, "API_TOKEN": running.gateway.token}
    common = ["--user", "good", "--message", "later"]
    instant = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    for at in (instant.isoformat(), instant.strftime("%Y-%m-%dT%H:%M:%SZ"), str(int(instant.timestamp()))):
        status, out, err = await rhopush_ping(tmp_path, *common, "--at", at, **there)
        assert (status, err) == (0, "")
        report = (await running.gateway.request("GET", f"/rc/v1/pings/{out.strip()}")).json()
        assert report["state"] == "scheduled"
        assert datetime.fromisoformat(report["deliver_at"]) == instant
    assert len(running.apns.received) == 0
    for words, expected in (
        (["--at", "2030-01-31T09:30:00"], "with its zone"),
        (["--at", "tomorrow"], "RFC 3339"),
        (["--at", instant.isoformat(), "--wait"], "wait"),
    ):
        status, out, err = await rhopush_ping(tmp_path, *common, *words, **there)
        assert (status, out) == (1, "")
        assert expected in err
    assert (await rhopush_ping(tmp_path, "--file", "x", "--at", "1", **there))[0] == 2
