"""`rhopush ping --file` against a running gateway."""

import asyncio
import io
import json
import os
import pty
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.cli.ping_file import FileLines
from tests.support.command import RUN
from tests.support.gateway import TOKEN
from tests.support.redis import RedisServer
from tests.support.worker import working


async def run(
    url: str, *words: str, stdin: bytes = b"", terminal: bool = False
) -> tuple[int | None, str, str]:
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, "ping", *words),
        env={"RHOPUSH_SERVER": url, "API_TOKEN": TOKEN},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=slave if terminal else asyncio.subprocess.PIPE,
    )
    os.close(slave)
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    shown = os.read(master, 65_536) if terminal else err
    os.close(master)
    return process.returncode, out.decode(), shown.decode()


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    with RedisServer("valkey") as server:
        async with working(tmp_path, server.address, {}) as worker:
            yield worker.url


async def test_pings_are_read_from_a_file_and_from_standard_input(url: str, tmp_path: Path) -> None:
    good = b"".join(json.dumps({"user_id": f"user{number}"}).encode() + b"\n" for number in range(1_500))
    file = tmp_path / "pings.ndjson"
    file.write_bytes(good)
    assert await run(url, "--file", str(file)) == (0, "1500 accepted, 0 refused\n", "")
    status, out, shown = await run(url, "--file", str(file), terminal=True)
    assert (status, out) == (0, "1500 accepted, 0 refused\n")
    assert "%" in shown

    unclear = b'{"user_id": "bob", "mesage": 1}\n{"user_id": "bob", "to": {"\\u001b[1m": 1}}\n'
    status, out, err = await run(url, "--file", "-", stdin=unclear)
    assert (status, out) == (1, "1 accepted, 1 refused\n")
    assert err.splitlines()[0] == "line 1: not understood: mesage"
    assert err.splitlines()[1].startswith("line 2, to.\\x1b[1m: to.\\x1b[1m is unknown")

    wrong = good[:200] + b'\n{"badge": -1}\n\n{no json\n'
    status, out, err = await run(url, "--file", "-", stdin=wrong)
    assert status == 1
    assert out.endswith(" accepted, 3 refused\n")
    first, second, third = err.splitlines()
    assert "badge: badge must be" in second
    assert second.endswith("(invalid_field)")
    assert third.startswith(f"line {wrong.count(bytes([10]))}: ")
    assert first.endswith("(malformed_body)")


async def test_wrong_usage_is_status_2_with_a_message(tmp_path: Path) -> None:
    for words, message in (
        (("--file", str(tmp_path / "nothing")), "cannot be read"),
        (("--file", "-", "--message", "hello"), "the lines of the file contain the parameters"),
        (("--file", "-", "--user", "bob"), "the lines of the file contain the parameters"),
        ((), "required"),
    ):
        status, out, err = await run("http://127.0.0.1:1", *words)
        assert (status, out) == (2, "")
        assert message in err


@pytest.mark.parametrize(("total", "fraction"), [(0, None), (8, 0.5), (2, 1.0)])
def test_the_progress_is_of_the_bytes(total: int, fraction: float | None) -> None:
    lines = FileLines(io.BytesIO(b"abc\nabc\n"), total)
    next(iter(lines))
    assert lines.fraction == fraction
