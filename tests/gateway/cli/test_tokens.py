"""`rhopush tokens` and `rhopush audit` against a running gateway."""

import argparse
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.cli.tokens import expiry
from tests.gateway.delivered import Delivered, delivered
from tests.support.command import rhopush


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Delivered]:
    async with delivered(tmp_path) as both:
        yield both


async def test_a_token_from_its_creation_to_its_revocation(running: Delivered, tmp_path: Path) -> None:
    there = {"RHOPUSH_SERVER": running.gateway.url, "API_TOKEN": running.gateway.token}
    words = ("tokens", "create", "ci", "--scope", "ping", "read", "--expires", "90d")
    status, token, err = await rhopush(tmp_path, *words, **there)
    assert (status, err.count("\n")) == (0, 1)
    assert token.startswith("rhp_")
    there_ci = there | {"API_TOKEN": token.strip()}
    status, out, _ = await rhopush(tmp_path, "ping", "--user", "good", "--message", "hello", **there_ci)
    assert status == 0, out
    status, out, err = await rhopush(tmp_path, "tokens", "list", **there_ci)
    assert (status, out) == (1, "")
    assert "ci lacks the scope admin" in err

    _, out, _ = await rhopush(tmp_path, "tokens", "list", **there)
    (row,) = [line.split("\t") for line in out.splitlines()]
    assert row[:3] == ["ci", "ping,read", "all"]
    assert row[4] == "api_token"
    assert row[6].endswith("Z")
    assert token.strip() not in out
    _, out, _ = await rhopush(tmp_path, "tokens", "list", "--json", **there)
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["ci"]

    assert await rhopush(tmp_path, "tokens", "revoke", "ci", **there) == (0, "revoked ci\n", "")
    status, _, err = await rhopush(tmp_path, "tokens", "revoke", "ci", **there)
    assert (status, err) == (1, "rhopush tokens: there is no token named ci\n")

    status, out, _ = await rhopush(tmp_path, "audit", **there)
    rows = [line.split("\t")[1:] for line in out.splitlines()]
    path = "/rc/v1/admin/tokens"
    assert (status, rows) == (
        0,
        [
            ["api_token", "api_token", "127.0.0.1", f"DELETE {path}/ci", "not_found"],
            ["api_token", "api_token", "127.0.0.1", f"DELETE {path}/ci", "done"],
            ["api_token", "api_token", "127.0.0.1", f"POST {path} ci", "done"],
        ],
    )
    _, out, _ = await rhopush(tmp_path, "audit", "--json", "--limit", "1", **there)
    assert [json.loads(line)["outcome"] for line in out.splitlines()] == ["not_found"]
    assert await rhopush(tmp_path, "audit", "--since", "2999-01-01T00:00:00Z", **there) == (0, "", "")


async def test_wrong_usage_gives_2_and_an_unreachable_gateway_1(tmp_path: Path, unused_tcp_port: int) -> None:
    assert (await rhopush(tmp_path, "tokens", "create", "ci"))[0] == 2
    status, _, err = await rhopush(tmp_path, "tokens", "create", "ci", "--scope", "fly")
    assert status == 2
    assert "'ping', 'broadcast'" in err or "ping, broadcast" in err
    where = ("--server", f"http://127.0.0.1:{unused_tcp_port}", "--token", "hush")
    status, _, err = await rhopush(tmp_path, "tokens", "list", *where)
    assert status == 1
    assert "name one with --server" in err


def test_days_count_from_now() -> None:
    assert abs(int(expiry("2d")) - time.time() - 172_800) < 60
    assert expiry("2030-01-31T09:30:00Z") == "2030-01-31T09:30:00Z"
    for text in ("0d", "1.5d", "-5d", "100000d", "d"):
        with pytest.raises(argparse.ArgumentTypeError, match="days"):
            expiry(text)
