"""The command `rhopush` in the test's own process."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from gateway.cli import main
from tests.support.worker import Worker


class Ended(NamedTuple):
    """The end of a command.

    Attributes:
        status: exit status.
        out, err: its output.
    """

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        """The columns of each line."""
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def json(self) -> list[Any]:
        """The JSON value of each line."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Awaitable[Ended]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `rhopush WORDS...` against a gateway: `await command(gateway, "lanes", "list")`."""

    async def run(gateway: Worker | str, *words: str) -> Ended:
        url, token = (gateway, "hush") if isinstance(gateway, str) else (gateway.url, gateway.token)
        try:
            status = await asyncio.to_thread(main, [*words, "--server", url, "--token", token])
        except SystemExit as end:  # argparse
            status = int(str(end.code))
        return Ended(status, *capsys.readouterr())

    return run
