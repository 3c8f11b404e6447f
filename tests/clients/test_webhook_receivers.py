"""The receivers in docs/webhooks.md as programs: they print each event once and refuse what is not signed."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from gateway.settings import Secret, WebhookSettings
from gateway.webhooks.http_sink import HttpSink
from protocols.webhooks.attempts import DeliveryAttempt, Outcome
from protocols.webhooks.events import PING_COMPLETED, Message
from tests.support.ports import free_port
from tests.support.requirements import need_program
from tests.support.webhooks import OTHER_SECRET, SECRET

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
MESSAGE = Message("msg_1-0_ping-completed", PING_COMPLETED, 5, [{"ping_id": "one"}, {"ping_id": "zwölf"}])
_PATIENCE_S = 60.0


def example(language: str) -> str:
    """The code of the one example in this language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(code)


def command(language: str) -> list[str]:
    """The program that runs a file in this language."""
    return [sys.executable] if language == "python" else [need_program("ruby", "ruby")]


@asynccontextmanager
async def receiving(words: Sequence[str], port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *words,
        env={**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port), "LANG": "C.UTF-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PATIENCE_S), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/"):
                        break
                except aiohttp.ClientError:
                    assert process.returncode is None, "the receiver has ended"
                    await asyncio.sleep(0.05)
        yield process
    finally:
        process.kill()
        await process.wait()


async def sent(port: int, message: Message, *secrets: str) -> DeliveryAttempt:
    url = Secret(f"http://127.0.0.1:{port}/")
    sink = HttpSink(WebhookSettings(url, tuple(map(Secret, secrets)), (PING_COMPLETED,)))
    attempt = await sink.send(message)
    await sink.close()
    return attempt


@pytest.mark.parametrize("language", ["python", "ruby"])
async def test_the_example_receives_each_event_once(language: str, tmp_path: Path) -> None:
    file, port = tmp_path / "receiver", free_port()
    file.write_text(example(language))
    assert len([line for line in file.read_text().splitlines() if line.strip()]) <= 24
    async with receiving([*command(language), str(file)], port) as process:
        refused = await sent(port, MESSAGE, OTHER_SECRET)
        assert (refused.outcome, refused.status) == (Outcome.FAILED, 401)
        for _ in range(2):
            attempt = await sent(port, MESSAGE, OTHER_SECRET, SECRET)
            assert (attempt.outcome, attempt.status) == (Outcome.DELIVERED, 204)
        await sent(port, MESSAGE._replace(id="msg_2-0", data=[{"ping_id": "two"}]), SECRET)
        assert process.stdout is not None
        async with asyncio.timeout(_PATIENCE_S):
            lines = [(await process.stdout.readline()).decode() for _ in range(3)]
    assert [re.findall(r"one|zwölf|two", line) for line in lines] == [["one"], ["zwölf"], ["two"]]
