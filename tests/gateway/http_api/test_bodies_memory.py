"""What a request held is let go with its answer: a worker's collector of cycles seldom runs."""

import asyncio
import gc
from types import FrameType

import pytest

from gateway.errors import RhoPushError
from gateway.http_api.bodies import read_body
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from protocols.http1.request_head import BODY_BYTES
from tests.gateway.http_api.harness import WAIT_S, House, call, house, request, wire


def errors() -> list[RhoPushError]:
    """All that anything still holds."""
    return [error for error in gc.get_objects() if isinstance(error, RhoPushError)]


def new(after: list[RhoPushError], before: list[RhoPushError]) -> list[RhoPushError]:
    """Those that came meanwhile. `before` holds the others, so that no new one can have the id of one."""
    known = {id(error) for error in before}
    return [error for error in after if id(error) not in known]


@pytest.mark.parametrize(
    "data",
    [
        request({"user_id": "bob"}, token=None),
        request({"user_id": "bob"}, token="wrong"),
        request({"user_id": "bob", "unknown": 1}, token=None),
        request({"user_id": ["bob"] * 20_000}, token=None),
        request(b"{"),
        request({"badge": []}),
        request({"user_id": "bob"}, headers={"Idempotency-Key": "two words"}),
        request(method="GET", path="/rc/v1/users", token=None),
        request(method="GET", path="/rc/v1/users/nobody"),
        request(method="GET", path="/nowhere"),
    ],
)
async def test_a_refused_request_is_forgotten_at_once(both: House, data: bytes) -> None:
    """An error in a cycle would keep its request's whole body."""
    before = errors()
    gc.disable()
    try:
        async with wire(both.port) as client:
            client.send(data)
            assert (await client.answer()).status >= 400
        await asyncio.sleep(0)
        after = errors()
    finally:
        gc.enable()
    assert new(after, before) == []


async def test_a_body_that_is_cut_off_is_forgotten_at_once(both: House) -> None:
    """It may be as long as `limits.body_bytes`, and its frame must not wait for the collector either."""
    gc.collect()
    gc.disable()
    try:
        async with wire(both.port) as client:
            client.send(request(b" " * BODY_BYTES * 2)[:-1])
            await client.writer.drain()
            await asyncio.sleep(0.05)
        async with asyncio.timeout(WAIT_S):
            while both.api._fast_path.connections:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        frames = [found for found in gc.get_objects() if isinstance(found, FrameType)]
    finally:
        gc.enable()
    assert [frame for frame in frames if frame.f_code is read_body.__code__] == []


@pytest.mark.parametrize("fast", [True, False])
async def test_a_ping_that_no_redis_can_judge_is_forgotten_at_once(fast: bool) -> None:
    before = errors()  # of other tests
    gc.disable()
    try:
        async with house(client(RedisAddress(unix_path="/nowhere")), fast_path=fast) as gone:
            assert (await call(gone, {"user_id": "bob"})).status == 503
            await asyncio.sleep(0)
            after = errors()
    finally:
        gc.enable()
    assert [error for error in new(after, before) if error.__traceback__ is not None] == []
