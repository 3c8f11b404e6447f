"""Floods by callers without credentials (API tokens and logins) against a real gateway, with bounded load.

During each attack pings with the good token and a right login from elsewhere are answered, no worker ends, and the
memory stays bounded.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import StartGateway
from tests.support.gateway import Gateway

PATIENCE_S = 100.0
MEMORY_MB = 400
HOME = "192.0.2.1"
"""A client without failures."""
SETTINGS: dict[str, Any] = {"http": {"trusted_proxies": ["127.0.0.1"]}}
"""The attacker and the others come from addresses of their own, as behind a reverse proxy."""


class Answers:
    """What the attacked gateway said to the attacker."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()

    def note(self, status: int, body: bytes) -> None:
        self.statuses[status] += 1
        if status == 503:
            self.codes[json.loads(body)["error"]["code"]] += 1


def post(path: str, body: dict[str, Any], client: str, token: str = "") -> bytes:
    data = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: gateway",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        f"X-Forwarded-For: {client}",
    ]
    lines += [f"X-RhoConnect-API-TOKEN: {token}"] if token else []
    return "\r\n".join([*lines, "", ""]).encode() + data


async def attack(gateway: Gateway, requests: Sequence[bytes], connections: int) -> Answers:
    """All requests, pipelined on so many connections at once."""
    answers = Answers()
    shares = [requests[number::connections] for number in range(connections)]
    await asyncio.gather(*(_pipelined(gateway, share, answers) for share in shares))
    return answers


async def _pipelined(gateway: Gateway, requests: Iterable[bytes], answers: Answers) -> None:
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    try:
        requests = list(requests)
        writer.write(b"".join(requests))
        for _ in requests:
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
            answers.note(int(head.split()[1]), await reader.readexactly(int(fields["Content-Length"])))
    finally:
        writer.transport.abort()


@asynccontextmanager
async def pinging(gateway: Gateway) -> AsyncIterator[list[int]]:
    """Good pings, one after the other; yields their statuses, of which there is one more at the end."""
    statuses: list[int] = []

    async def ping() -> None:
        statuses.append((await gateway.ping("bob", message="hello")).status)

    async def keep_pinging() -> None:
        while True:
            await ping()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(keep_pinging())
    try:
        yield statuses
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await ping()


async def log_in(gateway: Gateway, login: str, client: str, password: str = "right") -> int:
    body, headers = {"login": login, "password": password}, {"X-Forwarded-For": client}
    async with (
        aiohttp.ClientSession(gateway.url) as session,
        session.post("/rc/v1/app/login", json=body, headers=headers) as answer,
    ):
        return answer.status


async def with_users(start_gateway: StartGateway, **options: Any) -> Gateway:
    gateway = await start_gateway(SETTINGS, **options)
    for login in ("bob", "eve"):
        body = {"attributes": {"login": login, "password": "right"}}
        assert (await gateway.request("POST", "/rc/v1/users", json=body)).status == 200
    return gateway


def memory_mb(gateway: Gateway) -> int:
    """What supervisor and workers hold (proportional set size)."""
    total = 0
    for pid in gateway.pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total // 1024


@pytest.mark.timeout(200)
async def test_a_flood_of_invented_tokens_leaves_good_tokens_alone(start_gateway: StartGateway) -> None:
    gateway = await with_users(start_gateway)
    workers = gateway.workers
    requests = [
        post("/rc/v1/users/ping", {"user_id": "bob"}, f"198.51.100.{n % 5}", f"invented{n}")
        for n in range(12_000)
    ]
    async with asyncio.timeout(PATIENCE_S), pinging(gateway) as pings:
        answers = await attack(gateway, requests, 80)
    assert set(pings) == {200}
    assert set(answers.statuses) <= {422, 503}
    assert set(answers.codes) <= {"authentication_busy"}, "Redis is well"
    assert answers.statuses[422] > 0
    assert (gateway.workers, memory_mb(gateway) < MEMORY_MB) == (workers, True)


@pytest.mark.timeout(200)
async def test_a_flood_of_wrong_logins_gets_ten_guesses_and_locks_nobody_out(
    start_gateway: StartGateway,
) -> None:
    gateway = await with_users(start_gateway)
    workers = gateway.workers
    requests = [
        post("/rc/v1/app/login", {"login": "bob", "password": f"guess{n}"}, "198.51.100.1")
        for n in range(3_000)
    ]
    async with asyncio.timeout(PATIENCE_S), pinging(gateway) as pings:
        flood = asyncio.create_task(attack(gateway, requests, 200))
        right = [await log_in(gateway, login, HOME) for login in ("bob", "eve", "bob")]
        answers = await flood
    assert right == [200] * 3
    assert set(pings) == {200}
    assert answers.statuses[401] <= 10
    assert set(answers.statuses) <= {401, 429, 503}
    assert set(answers.codes) <= {"authentication_busy"}
    assert await log_in(gateway, "bob", "198.51.100.1") == 429
    assert (gateway.workers, memory_mb(gateway) < MEMORY_MB) == (workers, True)


@pytest.mark.timeout(200)
async def test_guesses_from_many_clients_are_spaced_out_and_lock_nobody_out(
    start_gateway: StartGateway,
) -> None:
    gateway = await with_users(start_gateway)
    requests = [
        post("/rc/v1/app/login", {"login": "bob", "password": f"guess{n}"}, f"198.51.100.{n % 100}")
        for n in range(1_000)
    ]
    async with asyncio.timeout(PATIENCE_S), pinging(gateway) as pings:
        flood = asyncio.create_task(attack(gateway, requests, 100))
        right = [await log_in(gateway, login, HOME) for login in ("bob", "eve", "bob")]
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
    assert right == [200] * 3
    assert set(pings) == {200}


@pytest.mark.timeout(200)
async def test_guesses_at_invented_names_hold_up_nobody(start_gateway: StartGateway) -> None:
    gateway = await with_users(start_gateway, workers=2)
    requests = [
        post("/rc/v1/system/login", {"login": f"nobody{n}", "password": "guess"}, "198.51.100.1")
        for n in range(1_000)
    ]
    async with asyncio.timeout(PATIENCE_S), pinging(gateway) as pings:
        flood = asyncio.create_task(attack(gateway, requests, 100))
        right = [await log_in(gateway, login, HOME) for login in ("bob", "eve")]
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)
    assert right == [200] * 2
    assert set(pings) == {200}
