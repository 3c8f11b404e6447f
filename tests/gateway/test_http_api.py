"""The HTTP API on its socket: opened, changed and closed."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.http_api import HttpTimeouts
from tests.gateway.http_api.harness import House, call, house, request, wire

BOB = {"user_id": "bob"}


@pytest.fixture(params=[True, False], ids=["fast path", "aiohttp"])
async def api(request: pytest.FixtureRequest, redis_client: Redis) -> House:
    async with house(redis_client, fast_path=request.param, timeouts=HttpTimeouts(tick_s=0.05)) as found:
        yield found


async def test_a_request_under_way_is_answered_before_the_end(api: House) -> None:
    api.queue.holding = True
    async with wire(api.port) as client:
        client.send(request(BOB))
        await api.queue.has(1)
        closing = asyncio.create_task(api.api.close(30.0))
        await asyncio.sleep(0)
        api.queue.commit()
        assert (await client.answer()).status == 200
        assert await client.rest() == b""
    await closing
    with pytest.raises(ConnectionRefusedError):
        await call(api, BOB)


async def test_after_the_budget_connections_are_dropped(api: House) -> None:
    api.queue.holding = True
    async with wire(api.port) as client:
        client.send(request(BOB))
        await api.queue.has(1)
        await api.api.close(0.05)
        assert await client.rest() == b""


async def test_changed_settings_hold_for_the_next_request(api: House) -> None:
    long = b'{"user_id":"bob"}'.ljust(5_000)
    assert (await call(api, long, token=None)).status == 422
    api.set(limits={"unauthenticated_body_bytes": 1_000})
    assert (await call(api, long, token=None)).status == 413


async def test_no_answer_names_the_software(api: House) -> None:
    for path in ("/healthz", "/nowhere"):
        answer = await call(api, method="GET", path=path)
        assert "server" not in answer.headers
