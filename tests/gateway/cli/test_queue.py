"""`rhopush queue` against a running gateway."""

from pathlib import Path

import pytest

from gateway.store import keys
from tests.gateway.cli.conftest import Command
from tests.gateway.delivered import delivered


async def test_the_numbers_and_the_records(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with delivered(tmp_path) as running:
        gateway = running.gateway
        redis = running.redis
        await redis.hset(keys.PARKED, "apns:A", 3)
        shown = await command(gateway, "queue", "show")
        assert (shown.status, shown.err) == (0, "")
        assert ["pings", "0", "0", "-"] in shown.rows
        assert ["pings", "0", "1000000"] in shown.rows
        assert ["parked for apns:A", "3", ""] in shown.rows
        (queue,) = (await command(gateway, "queue", "show", "--json")).json
        assert queue["parked"] == {"apns:A": 3}

        await redis.xadd(keys.PINGS, {"e": b"\xc1", "n": 0, "s": 0})
        records: list[list[str]] = []
        while not records:
            records = (await command(gateway, "queue", "unreadable", "list")).rows
        record = records[0][0]
        assert (records[0][1], records[0][4]) == ("pings", "0")
        assert "not a queue entry" in records[0][5]
        (listed,) = (await command(gateway, "queue", "unreadable", "list", "--json")).json
        assert listed["record"] == record
        one = await command(gateway, "queue", "unreadable", "show", record)
        assert ["field e", "1 bytes: wQ=="] in one.rows
        (one_json,) = (await command(gateway, "queue", "unreadable", "show", record, "--json")).json
        assert one_json["stored"] is True
        done = await command(gateway, "queue", "unreadable", "requeue", record)
        assert (done.status, done.out.split()[:2]) == (0, ["requeued", record])
        again = await command(gateway, "queue", "unreadable", "requeue", record)
        assert (again.status, again.out) == (1, "")
        assert "no such record" in again.err
        records = []
        while not records:
            records = (await command(gateway, "queue", "unreadable", "list")).rows
        done = await command(gateway, "queue", "unreadable", "drop", records[0][0])
        assert done.out == f"dropped {records[0][0]}\n"
        assert (await command(gateway, "queue", "unreadable", "list")).out == ""

        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        table = (await command(gateway, "queue", "show")).out.splitlines()
        assert table[0].split() == ["STREAM", "ENTRIES", "PENDING", "OLDEST"]


async def test_an_unreachable_gateway_is_status_1_and_wrong_usage_status_2(
    command: Command, unused_tcp_port: int
) -> None:
    ended = await command(f"http://127.0.0.1:{unused_tcp_port}", "queue", "show")
    assert (ended.status, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "`rhopush serve`" in ended.err
    assert "hush" not in ended.err
    for words in ([], ["unreadable"], ["unreadable", "show"], ["unreadable", "drop"]):
        assert (await command("http://x", "queue", *words)).status == 2
