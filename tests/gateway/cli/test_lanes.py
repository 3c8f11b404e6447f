"""`rhopush lanes`, and the path of the page for operators: pings are not arriving, which command first."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Command, Ended
from tests.gateway.delivered import delivered

PATIENCE_S = 60.0


async def until(command: Command, words: tuple[object, ...], fits: Callable[[Ended], bool]) -> Ended:
    """Repeat a command until its output fits."""
    async with asyncio.timeout(PATIENCE_S):
        while not fits(ended := await command(*words)):
            await asyncio.sleep(0.02)
    return ended


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers report, and read the operators' requests, at short intervals; a parked delivery is tried again early. A
    breaker closes at an operator's request alone."""
    monkeypatch.setattr("gateway.server.worker_reports.POLL_S", 0.05)
    monkeypatch.setattr("gateway.server.worker_reports.REPORT_S", 0.1)
    monkeypatch.setattr("gateway.delivery.backlog.PARK_S", 1.0)
    monkeypatch.setattr("gateway.delivery.circuit_breaker.BREAKER_OPEN_S", 3_600.0)


async def test_the_commands_lead_to_a_refused_credential_and_back(tmp_path: Path, command: Command) -> None:
    async with delivered(tmp_path) as running:
        gateway = running.gateway
        running.apns.faults.add("403")
        ping_id = (await gateway.ping("good", message="hello")).ping_id

        # 1. The queue: nothing waits to be read, and a delivery is parked for a lane.
        def parked(ended: Ended) -> bool:
            return any(row[0].startswith("parked for apns:") for row in ended.rows)

        queue = await until(command, (gateway, "queue", "show"), parked)
        assert ["pings", "0", "0", "-"] in queue.rows
        (row,) = [row for row in queue.rows if row[0].startswith("parked for")]
        lane = row[0].removeprefix("parked for ")

        # 2. The lanes: the breaker of that lane is open, and the provider's reason is named.
        lanes = await until(command, (gateway, "lanes", "list"), lambda ended: "\topen\t" in ended.out)
        (found,) = [row for row in lanes.rows if row[0] == lane]
        host, link, breaker, reason = found[1], found[2], found[3], found[9]
        assert (host, link, breaker) == (f"127.0.0.1:{running.apns.port}", "up", "open")
        assert reason != "-"

        # 3. The ping: it is open, and its device waits for the same reason.
        shown = await command(gateway, "pings", "show", ping_id)
        assert shown.out.splitlines()[0].split()[:3] == ["ping", ping_id, "open"]
        assert shown.rows[1] == ["good" * 8, "apns", "later", reason]

        # 4. The credential is replaced, and the breaker closed.
        running.apns.faults.clear()
        reset = await command(gateway, "lanes", "reset", lane)
        assert (reset.status, reset.out) == (0, f"closing the breaker of {lane}; workers with this lane: 1\n")
        await until(command, (gateway, "lanes", "list"), lambda ended: "\tclosed\t" in ended.out)
        await until(
            command, (gateway, "pings", "show", ping_id), lambda ended: "  done  1 accepted" in ended.out
        )
        assert running.apns.received.total >= 2


async def test_json_names_a_lane_and_a_reset_of_an_unknown_lane_fails(
    tmp_path: Path, command: Command
) -> None:
    async with delivered(tmp_path) as running:
        await running.gateway.ping("good", message="hello", wait=True)
        listed = await until(
            command, (running.gateway, "lanes", "list", "--json"), lambda ended: bool(ended.out)
        )
        (lane,) = listed.json
        assert (lane["provider"], lane["breaker"], len(lane["workers"])) == ("apns", "closed", 1)
        ended = await command(running.gateway, "lanes", "reset", "apns:none")
        assert (ended.status, ended.out) == (1, "")
        assert "no worker has a lane of this name" in ended.err
        (reset,) = (await command(running.gateway, "lanes", "reset", lane["name"], "--json")).json
        assert reset == {"lane": lane["name"], "workers": 1}


async def test_an_unreachable_gateway_is_status_1_and_wrong_usage_status_2(
    command: Command, unused_tcp_port: int
) -> None:
    ended = await command(f"http://127.0.0.1:{unused_tcp_port}", "lanes", "list")
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert "`rhopush serve`" in ended.err
    for words in ([], ["reset"]):
        assert (await command("http://x", "lanes", *words)).status == 2
