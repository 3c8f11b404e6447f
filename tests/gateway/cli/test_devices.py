"""`rhopush devices` and `rhopush devices explain` against a running gateway."""

import json
from pathlib import Path

import pytest

from gateway.cli.devices import write_explanation
from tests.gateway.cli.conftest import Command
from tests.gateway.delivered import GOOD_PIN, delivered
from tests.support.command import rhopush

REFUSED = "the gateway does not accept the API token: No API token provided"


async def explain(folder: Path, *words: str, **environ: str) -> tuple[int | None, str, str]:
    return await rhopush(folder, "devices", "explain", *words, **environ)


async def test_it_prints_a_line_for_each_device_and_sends_nothing(tmp_path: Path) -> None:
    async with delivered(tmp_path) as running:
        there = {"RHOPUSH_SERVER": running.gateway.url, "API_TOKEN": running.gateway.token}
        status, out, err = await explain(tmp_path, "good", "nobody", "--message", "hello", **there)
        assert (status, err) == (0, "devices that would get the ping: 1, left out: 0\n")
        good, nobody = (row.split("\t") for row in out.splitlines())
        assert good[:3] == ["good", "good" * 8, "apns"]
        assert "bytes over apns:" in good[5]
        assert nobody == ["nobody", *["-"] * 4, "no such user, or no client"]
        status, out, err = await explain(tmp_path, "--push-token", "fcm:abcd", "--message", "hello", **there)
        (row,) = (row.split("\t") for row in out.splitlines())
        assert (row[0], row[1].partition(":")[0], row[2]) == ("-", "token", "fcm")
        assert (status, err.startswith("devices that would get the ping: 1,")) == (0, True), (out, err)
        status, out, _ = await explain(tmp_path, "--message", "hello", "good", **there)
        assert (status, out.split("\t")[0]) == (0, "good")
        status, out, _ = await explain(tmp_path, "good", "--json", **there)
        assert status == 1
        assert json.loads(out)["left_out"][0]["reason"] == "nothing_to_send"
        assert GOOD_PIN not in out
        status, _, err = await explain(tmp_path, "good", **{**there, "API_TOKEN": "wrong"})
        assert (status, err) == (1, f"rhopush devices: {REFUSED}\n")
        assert running.apns.received.total == 0


async def test_an_unreachable_gateway_is_reported(tmp_path: Path, unused_tcp_port: int) -> None:
    server = f"http://127.0.0.1:{unused_tcp_port}"
    status, _, err = await explain(tmp_path, "bob", "--server", server, API_TOKEN="t")
    assert status == 1
    assert "cannot be reached" in err
    assert "rhopush serve" in err
    assert (await explain(tmp_path, API_TOKEN="t"))[0] == 2


async def test_the_devices_of_a_user(tmp_path: Path, command: Command) -> None:
    async with delivered(tmp_path) as running:
        gateway = running.gateway
        for user in ("good", "dead"):
            await gateway.ping(user, message="hello", wait=True)
        good = await command(gateway, "devices", "good")
        assert (good.status, good.err) == (0, "")
        assert (good.rows[0][0], good.rows[0][1], good.rows[0][6]) == ("good" * 8, "apns", "reachable")
        dead = await command(gateway, "devices", "dead")
        while dead.status == 0:  # until the mark is written
            dead = await command(gateway, "devices", "dead")
        assert "dead_token: the provider reported the push token as dead (Unregistered)" in dead.rows[0][6]
        (answer,) = (await command(gateway, "devices", "dead", "--json")).json
        assert answer["devices"][0]["reachable"] is False
        nobody = await command(gateway, "devices", "nobody")
        assert nobody.status == 1
        assert "no such user" in nobody.err


async def test_wrong_usage_gives_exit_status_2(command: Command) -> None:
    for words in ([], ["explain"], ["one", "two"], ["one", "--message", "hello"], ["one", "--app", "store"]):
        assert (await command("http://127.0.0.1:1", "devices", *words)).status == 2, words


def test_a_name_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {
        "devices": [],
        "left_out": [],
        "unknown_users": ["\x1b[2Jbob"],
        "totals": {"devices": 0, "left_out": 0},
    }
    write_explanation(answer)
    assert capsys.readouterr().out.startswith("\\x1b[2Jbob\t")


def test_texts_of_devices_are_printed_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    row = dict.fromkeys(("user_id", "client_id", "provider", "app", "token", "lane"), "\x1b[2J")
    device = row | {"bytes": 1, "host": "", "validation": {"verdict": "rejected", "reason": "\x1b]0;x\x07"}}
    answer = {"devices": [device], "left_out": [], "unknown_users": ["\x1b[2J"]}
    write_explanation(answer | {"totals": {"devices": 1, "left_out": 0}})
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert len(text.splitlines()) == 2
