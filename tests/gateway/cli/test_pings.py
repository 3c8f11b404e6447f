"""`rhopush pings` against a running gateway and a simulated Apple."""

import argparse
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.cli.pings import add_arguments, run
from tests.gateway.delivered import Delivered, delivered
from tests.support.command import rhopush


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Delivered]:
    async with delivered(tmp_path) as both:
        yield both


async def test_it_lists_the_newest_first_and_shows_one(running: Delivered, tmp_path: Path) -> None:
    there = {"RHOPUSH_SERVER": running.gateway.url, "API_TOKEN": running.gateway.token}
    ids = []
    for user in ("good", "dead"):
        _, out, _ = await rhopush(tmp_path, "ping", "--user", user, "--message", "hello", "--wait", **there)
        ids.append(out.split()[1])

    status, out, err = await rhopush(tmp_path, "pings", "list", **there)
    assert (status, err) == (0, "")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [(row[0], row[1], row[4]) for row in rows] == [
        (ids[1], "done", "1 rejected"),
        (ids[0], "done", "1 accepted"),
    ]
    _, out, err = await rhopush(tmp_path, "pings", "list", "--limit", "1", "--json", **there)
    assert [json.loads(line)["ping_id"] for line in out.splitlines()] == [ids[1]]
    assert err == "there are more: raise --limit from 1\n"
    assert (await rhopush(tmp_path, "pings", "list", "--limit", "2", **there))[2] == ""
    assert (await rhopush(tmp_path, "pings", "list", "--state", "queued", **there))[:2] == (0, "")

    status, out, _ = await rhopush(tmp_path, "pings", "show", ids[1], **there)
    first, device = out.splitlines()
    assert (status, first) == (0, f"ping {ids[1]}  done  1 rejected")
    assert device.split("\t") == ["dead" * 8, "apns", "rejected", "Unregistered"]
    _, out, _ = await rhopush(tmp_path, "pings", "show", ids[0], "--json", **there)
    assert json.loads(out)["counts"]["accepted"] == 1

    status, out, err = await rhopush(tmp_path, "pings", "show", "abc", **there)
    assert (status, out) == (1, "")
    assert err.startswith("rhopush pings: the ping is unknown")


async def test_an_unreachable_gateway_gives_exit_status_1(tmp_path: Path, unused_tcp_port: int) -> None:
    where = f"http://127.0.0.1:{unused_tcp_port}"
    status, _, err = await rhopush(tmp_path, "pings", "list", "--server", where, "--token", "hush")
    assert status == 1
    assert err.count("\n") == 1
    assert f"{where} cannot be reached" in err
    assert "--server" in err
    assert "hush" not in err


async def test_wrong_usage_and_a_missing_token_give_exit_status_2(tmp_path: Path) -> None:
    assert (await rhopush(tmp_path, "pings"))[0] == 2
    assert (await rhopush(tmp_path, "pings", "list", "--state", "finished"))[0] == 2
    assert (await rhopush(tmp_path, "pings", "list"))[0] == 2


def test_on_a_terminal_it_prints_a_table_and_it_reads_page_after_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ping = {"state": "open", "accepted_at": None, "ingress": "http", "counts": {"accepted": 3, "later": 0}}
    pages = {
        (500, None): {"pings": [], "next_cursor": "a"},
        (500, "a"): {"pings": [ping | {"ping_id": "x" * 32}] * 500, "next_cursor": "b"},
        (500, "b"): {"pings": [ping | {"ping_id": "y" * 32}] * 2, "next_cursor": "c"},
    }
    monkeypatch.setattr(
        "gateway.client.sync_client.SyncClient.pings",
        lambda _, wanted: pages[wanted["limit"], wanted["cursor"]],
    )
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args(["list", "--limit", "501", "--token", "hush"])) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 502
    assert err == "there are more: raise --limit from 501\n"
    assert lines[0].split() == ["PING", "STATE", "ACCEPTED", "AT", "INGRESS", "VERDICTS", "DELIVER", "AT"]
    assert lines[-1].split() == ["y" * 32, "open", "http", "3", "accepted"]


async def test_it_cancels_a_scheduled_ping_but_no_finished_one(running: Delivered, tmp_path: Path) -> None:
    there = {"RHOPUSH_SERVER": running.gateway.url, "API_TOKEN": running.gateway.token}
    at_s = int(time.time()) + 3_600
    at = f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%S.000Z}"
    ids = [(await running.gateway.ping("good", message="later", deliver_at=at_s)).ping_id for _ in range(2)]
    _, out, _ = await rhopush(tmp_path, "pings", "list", "--state", "scheduled", **there)
    assert [line.split("\t")[5] for line in out.splitlines()] == [at, at]
    _, out, _ = await rhopush(tmp_path, "pings", "show", ids[0], **there)
    assert out.splitlines() == [f"ping {ids[0]}  scheduled", f"deliver at {at}"]
    status, out, _ = await rhopush(tmp_path, "pings", "cancel", ids[0], **there)
    assert (status, out) == (0, f"ping {ids[0]} is cancelled; finished\n")
    status, out, _ = await rhopush(tmp_path, "pings", "cancel", ids[1], "--json", **there)
    assert (status, json.loads(out)) == (0, {"ping_id": ids[1], "state": "cancelled"})
    _, out, _ = await rhopush(tmp_path, "pings", "list", "--state", "cancelled", **there)
    assert sorted(line.split("\t")[0] for line in out.splitlines()) == sorted(ids)

    _, out, _ = await rhopush(tmp_path, "ping", "--user", "good", "--message", "hello", "--wait", **there)
    status, out, err = await rhopush(tmp_path, "pings", "cancel", out.split()[1], **there)
    assert (status, out) == (1, "")
    assert err.startswith("rhopush pings: the ping is finished")
