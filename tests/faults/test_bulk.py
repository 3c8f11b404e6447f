"""Bulk requests of a real gateway: `kill -9` in mid-stream, SIGTERM, repeats, and the memory of a long stream."""

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.client import PingJob
from gateway.simulators import ApnsOptions, ApnsSimulator, FcmSimulator, Hosting, SimulatedRecord
from gateway.store import keys
from tests.faults.test_memory import pss_kb
from tests.support.gateway import TOKEN, Gateway
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import apple, lay_users
from tests.support.worker import Worker, working
from tests.support.worker_core import until

USERS = 200
PINGS = 2_000
KILLS = 2
NDJSON = {"Content-Type": "application/x-ndjson", "X-RhoConnect-API-TOKEN": TOKEN}


@asynccontextmanager
async def running(
    folder: Path, found: "PingsOfAlerts | None" = None, workers: int = 1, **settings: Any
) -> AsyncIterator[tuple[Gateway, Redis]]:
    hosting = Hosting(accept_all=True) if found is None else Hosting(on_push=found.note)
    async with ApnsSimulator(ApnsOptions(), hosting) as apns, FcmSimulator() as fcm:
        gateway = Gateway(folder, provider_settings(apns, fcm, **settings), workers=workers)
        try:
            await gateway.start()
            socket = gateway.data_dir / "valkey" / "valkey.sock"
            async with store_client(socket) as redis:
                await lay_users(redis, {f"user{n}": [apple(f"{n:064x}")] for n in range(USERS)})
                yield gateway, redis
        finally:
            await gateway.close()


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    """A worker in this process, for tests that neither kill nor measure it."""
    with RedisServer("valkey") as server:
        async with working(tmp_path, server.address, {}) as made:
            yield made


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    yield
    PingJob.configure()


def ping(number: int, **more: Any) -> dict[str, Any]:
    return {"user_id": f"user{number % USERS}", "message": f"ping {number}", **more}


def lines(*pings: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(ping).encode() + b"\n" for ping in pings)


async def post(gateway: Gateway | Worker, body: Any, **headers: str) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/rc/v1/pings", data=body, headers={**NDJSON, **headers}) as answer,
    ):
        assert answer.status == 200
        return [json.loads(line) for line in (await answer.read()).splitlines()]


class PingsOfAlerts:
    """The ids of the pings that brought each text; an id is the push's collapse id."""

    def __init__(self) -> None:
        self.ids: dict[str, set[str]] = {}
        self._changed = asyncio.Event()

    def note(self, record: SimulatedRecord) -> None:
        self.ids.setdefault(record.summary.alert or "", set()).add(record.headers["apns-collapse-id"])
        self._changed.set()

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.ids) < count:
                self._changed.clear()
                await self._changed.wait()


@pytest.mark.timeout(300)  # each kill leaves leases, which are taken over after some 20 s
async def test_kill_9_in_mid_stream_loses_and_duplicates_no_ping(
    short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, dice = PingsOfAlerts(), random.Random()
    kill_at = sorted(dice.sample(range(300, PINGS - 300), KILLS))
    async with running(short_path, found, workers=2) as (gateway, redis):
        PingJob.configure(server=gateway.url, token=TOKEN)
        results = []
        async for result in PingJob.abulk(ping(number) for number in range(PINGS)):
            results.append(result)
            if kill_at and len(results) >= kill_at[0]:
                kill_at.pop(0)
                await until(lambda: len(gateway.workers) == 2)  # those of the last kill are restarted
                gateway.kill(*gateway.workers)
        await found.reach(PINGS)
        async with asyncio.timeout(60):
            while int(await redis.hget(keys.STATS, "pings") or 0):
                await asyncio.sleep(0.05)
    assert [result.line for result in results] == list(range(1, PINGS + 1))
    lost = [number for number in range(PINGS) if f"ping {number}" not in found.ids]
    doubled = [alert for alert, ids in found.ids.items() if len(ids) > 1]
    with capsys.disabled():
        print(f"\n{PINGS} lines, {KILLS} kills: {len(lost)} lost, {len(doubled)} doubled")
    assert not lost
    assert not doubled
    assert {result.ping_id for result in results} == {
        ping_id for ids in found.ids.values() for ping_id in ids
    }


async def test_repeats_in_a_request_and_over_two_are_one_ping_each(worker: Worker) -> None:
    keyed = [ping(number, idempotency_key=f"key {number}".replace(" ", "-")) for number in range(500)]
    first = await post(worker, lines(*keyed, *keyed[:100]))
    assert len({one["ping_id"] for one in first}) == 500
    assert first[500:] == first[:100]
    again = await post(worker, lines(*keyed[250:], ping(9999, idempotency_key="fresh"), *keyed[:250]))
    assert again[:250] == first[250:500]
    assert again[251:] == first[:250]
    assert again[250] not in first
    (conflict,) = await post(worker, lines({**keyed[0], "message": "another"}))
    assert (conflict["error"]["code"], conflict["line"]) == ("idempotency_conflict", 1)
    headers = {"Idempotency-Key": keyed[0]["idempotency_key"]}
    refused = await worker.request("POST", "/rc/v1/users/ping", json=ping(0), headers=headers)
    assert refused.status == 409


async def test_a_stream_of_100_mb_does_not_increase_the_memory(
    short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, total = "x" * 4_000, 26_000

    async def body() -> AsyncIterator[bytes]:
        for number in range(0, total, 50):
            yield lines(*({"user_id": f"nobody{one}", "message": text} for one in range(number, number + 50)))

    async with running(short_path) as (gateway, _):
        await post(gateway, lines(*(ping(number) for number in range(2_000))))
        (worker,) = gateway.workers
        before, most, answered = pss_kb(worker), 0, 0
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{gateway.url}/rc/v1/pings", data=body(), headers=NDJSON) as answer,
        ):
            async for line in answer.content:
                assert line.startswith(b'{"ping_id"')
                answered += 1
                if not answered % 500:
                    most = max(most, pss_kb(worker))
    with capsys.disabled():
        print(
            f"\n{total} lines of {len(text)} bytes: {before / 1024:.0f} MB before, {most / 1024:.0f} MB at most"
        )
    assert answered == total
    assert most < before + 100 * 1024


async def test_sigterm_answers_the_read_lines_and_the_client_resumes(short_path: Path) -> None:
    async with running(short_path) as (gateway, _):
        body: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def sent() -> AsyncIterator[bytes]:
            while (piece := await body.get()) is not None:
                yield piece

        body.put_nowait(lines(*(ping(number) for number in range(100))))
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{gateway.url}/rc/v1/pings", data=sent(), headers=NDJSON) as answer,
        ):
            found = [json.loads(await answer.content.readline()) for _ in range(100)]
            stopping = asyncio.create_task(gateway.stop())
            found += [json.loads(line) async for line in answer.content]
            body.put_nowait(None)
        assert await stopping == 0
    assert [sorted(one) for one in found[:100]] == [["ping_id"]] * 100
    (last,) = found[100:]
    assert (last["error"]["code"], last["resume_from"]) == ("shutting_down", 101)


async def test_every_line_of_a_gzip_stream_is_answered(worker: Worker) -> None:
    packed = gzip.compress(lines(*(ping(number) for number in range(5_000))))
    found = await post(worker, packed, **{"Content-Encoding": "gzip"})
    assert len({one["ping_id"] for one in found}) == 5_000
