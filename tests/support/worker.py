"""A complete worker in the test's own process: every part real, with a socket on a port of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from gateway.server.worker import run
from gateway.server.worker_channels import WorkerContext
from gateway.settings import load
from tests.support.gateway import TOKEN, Answer

_PATIENCE_S = 30.0


class Worker:
    """Access to a running worker through its HTTP API.

    Args:
        url: its URL.
        task: it runs the worker.
        session: for requests to it.
        rhoconnect_push_url: the URL for RhoConnect Push devices; "" without a socket of its own for them.
    """

    def __init__(
        self,
        url: str,
        task: asyncio.Task[None],
        session: aiohttp.ClientSession,
        rhoconnect_push_url: str = "",
    ) -> None:
        self.url = url
        self.rhoconnect_push_url = rhoconnect_push_url
        self.token = TOKEN
        self.task = task
        self._session = session

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        """Send one request with the API token in its header."""
        headers = {"X-RhoConnect-API-TOKEN": TOKEN, **options.pop("headers", {})}
        async with self._session.request(method, self.url + path, headers=headers, **options) as answer:
            return Answer(answer.status, await answer.read(), answer.headers)

    async def ping(self, user_id: str | list[str], *, key: str | None = None, **parameters: Any) -> Answer:
        """Send RhoConnect's ping, as JSON; `key`: its Idempotency-Key."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        parameters.setdefault("message", "hello")
        body = {"user_id": user_id, **parameters}
        return await self.request("POST", "/rc/v1/users/ping", json=body, headers=headers)

    async def accepted(self, user_id: str | list[str], **parameters: Any) -> str:
        """Ping, expect 200, and return the ping's id."""
        answer = await self.ping(user_id, **parameters)
        assert (answer.status, answer.body) == (200, b"")
        return answer.ping_id

    async def report(self, ping_id: str) -> dict[str, Any]:
        """The present receipt of a ping."""
        answer = await self.request("GET", f"/rc/v1/pings/{ping_id}")
        assert answer.status == 200, answer.body
        report: dict[str, Any] = answer.json()
        return report

    async def until(self, ping_id: str, **wanted: Any) -> dict[str, Any]:
        """Read the receipt until it has these values (`state="done"`), also while Redis is unreachable, and return
        it."""
        report: dict[str, Any] = {"devices": []}
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not wanted.items() <= report.items():
                    answer = await self.request("GET", f"/rc/v1/pings/{ping_id}")
                    assert answer.status in (200, 503), answer.body
                    report = answer.json() if answer.status == 200 else report
                    await asyncio.sleep(0.01)
        except TimeoutError:
            report["devices"] = [one for one in report["devices"] if one["verdict"] != "accepted"][:5]
            raise AssertionError(f"the receipt never contained {wanted}: {report}") from None
        return report

    async def done(self, ping_id: str) -> dict[str, Any]:
        """The receipt of a finished ping."""
        return await self.until(ping_id, state="done")

    async def verdicts(self, ping_id: str) -> list[tuple[str, str]]:
        """Verdict and reason of each device of a finished ping."""
        report = await self.done(ping_id)
        return [(device["verdict"], device.get("reason", "")) for device in report["devices"]]


@asynccontextmanager
async def working(
    folder: Path,
    redis: str,
    settings: Mapping[str, Any],
    *,
    slot: int = 0,
    gateway_id: str = "tested",
    app: Mapping[str, Any] | None = None,
    sources: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    workers: int = 1,
    rhoconnect_push: bool = False,
) -> AsyncIterator[Worker]:
    """Run one worker until the block ends; it drains then, and its errors are raised here.

    Args:
        folder: an empty folder, for the settings file.
        redis: the address of its store.
        settings: the `:gateway:` part.
        slot: its number.
        gateway_id: the same for a worker that is restarted.
        app: keys beside `:gateway:`.
        sources: the `:sources:` part.
        environ: environment variables with settings.
        workers: number of workers of the gateway; the others are run by other calls.
        rhoconnect_push: whether it has a socket for RhoConnect Push devices.
    """
    file = folder / f"settings-{gateway_id}-{slot}.yml"
    development = {
        "api_token": TOKEN,
        "redis": redis,
        **(app or {}),
        "gateway": {"data_dir": str(folder), **settings},
    }
    file.write_text(yaml.safe_dump({"sources": dict(sources or {}), "development": development}))
    sock = socket.create_server(("127.0.0.1", 0))
    push_sock = socket.create_server(("127.0.0.1", 0)) if rhoconnect_push else None
    stop, ready = asyncio.Event(), asyncio.Event()
    said = load(file, "development", environ or {})
    work = run(WorkerContext(said, slot, gateway_id, sock, stop, ready.set, push_sock, workers))
    url, push_url = (
        f"http://127.0.0.1:{one.getsockname()[1]}" if one is not None else "" for one in (sock, push_sock)
    )
    task = asyncio.create_task(work, name=f"worker {slot}")
    opening = asyncio.create_task(ready.wait())
    await asyncio.wait((task, opening), return_when=asyncio.FIRST_COMPLETED)
    opening.cancel()
    if task.done():
        sock.close()
        if push_sock is not None:
            push_sock.close()
        await task
    try:
        async with aiohttp.ClientSession() as session:
            yield Worker(url, task, session, push_url)
    finally:
        stop.set()
        await task
