"""A real Prometheus that scrapes a gateway, and promtool."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.support.ports import free_port
from tests.support.requirements import need_program

PACKAGE = "prometheus"
_READY_S = 30.0


class Prometheus:
    """Access to a running Prometheus through its HTTP API."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of a successful answer."""
        async with self._session.get(f"{self._url}/api/v1/{path}", params=parameters) as answer:
            found = await answer.json()
        assert found["status"] == "success", found
        return found["data"]

    async def has_data(self, query: str) -> bool:
        """Whether a query returns a number."""
        result = (await self.ask("query", query=query))["result"]
        return any(not math.isnan(float(one["value"][1])) for one in result)

    async def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            async with self._session.get(f"{self._url}/-/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def scraping(folder: Path, targets: Sequence[str], rules: Path) -> AsyncIterator[Prometheus]:
    """Run Prometheus until the block ends; it scrapes once a second.

    Args:
        folder: an empty folder.
        targets: HOST:PORT of each gateway.
        rules: a file with alert rules.
    """
    program, port = need_program("prometheus", PACKAGE), free_port()
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "rhopush", "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession() as session:
            prometheus = Prometheus(f"http://127.0.0.1:{port}", session)
            async with asyncio.timeout(_READY_S):
                while not await prometheus.is_ready():
                    assert process.returncode is None, (folder / "prometheus.log").read_text()
                    await asyncio.sleep(0.05)
            yield prometheus
    finally:
        process.terminate()
        await process.wait()


async def promtool(*words: str) -> tuple[int, str]:
    """Exit status and output of promtool."""
    process = await asyncio.create_subprocess_exec(
        need_program("promtool", PACKAGE),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()
