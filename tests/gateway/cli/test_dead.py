"""`rhopush dead` against a running gateway."""

from pathlib import Path

from tests.gateway.cli.conftest import Command
from tests.gateway.delivered import delivered

DEVICE = "dead" * 8


async def test_a_dead_device_is_listed_and_restored(tmp_path: Path, command: Command) -> None:
    async with delivered(tmp_path) as running:
        gateway = running.gateway
        for user in ("good", "dead"):
            await gateway.ping(user, message="hello", wait=True)
        rows: list[list[str]] = []
        while not rows:
            listed = await command(gateway, "dead", "list")
            rows = listed.rows
        assert (listed.status, rows[0][0], rows[0][1], rows[0][5]) == (0, DEVICE, "dead", "Unregistered")
        assert rows[0][7] == "everywhere"
        (device,) = (await command(gateway, "dead", "list", "--json")).json
        assert device["client_id"] == DEVICE
        assert (await command(gateway, "dead", "list", "--provider", "fcm")).out == ""
        restored = await command(gateway, "dead", "restore", DEVICE, "--provider", "fcm")
        assert (restored.status, restored.out) == (0, "devices restored: 0\n")
        restored = await command(gateway, "dead", "restore", "--reason", "Unregistered")
        assert restored.out == "devices restored: 1\n"
        assert (await command(gateway, "dead", "restore", "--all", "--json")).json == [{"restored": 0}]
        # The provider still refuses the token: it is tried, and marked again.
        report = await gateway.ping("dead", message="hello", wait=True)
        assert b"Unregistered" in report.body


async def test_nothing_is_restored_without_a_choice(command: Command, unused_tcp_port: int) -> None:
    ended = await command(f"http://127.0.0.1:{unused_tcp_port}", "dead", "restore")
    assert ended.status == 2
    assert "--all" in ended.err
    ended = await command(f"http://127.0.0.1:{unused_tcp_port}", "dead", "list")
    assert ended.status == 1
    assert "`rhopush serve`" in ended.err
