"""`kill -9` while the set of all users is scanned: everybody is reached, and only pushes in flight are repeated."""

import random
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.queue.everybody import ScanCursor
from gateway.store import keys
from tests.faults.load import Deliveries, Delivery
from tests.faults.test_kill import (
    CROWD,
    IN_FLIGHT,
    SAVED_WITHIN_S,
    dice,
    finished,
    kill_all,
    kill_worker,
    phone,
    running,
    store,
)
from tests.support.gateway import Gateway
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import lay_users

__all__ = ["dice", "store"]

USERS = 4_000
"""More than the chunks that a scan may be ahead."""
AHEAD = {
    "gateway.fanout.everybody.AHEAD_CHUNKS": 4,
    "gateway.fanout.everybody.STEP_USERS": 2 * keys.CHUNK_USERS,
}
"""A scan is ahead of the deliveries by less than half of the users."""
SLOW = ("delay=50",)
"""The deliveries last for some seconds, and so does the scan."""
KILLS = (kill_worker, kill_all)


def client(gateway: Gateway, server: RedisServer | None) -> Redis:
    """A client of its own: a kill may end the embedded server."""
    path = server.socket if server is not None else gateway.data_dir / "valkey" / "valkey.sock"
    return store_client(path)


async def in_mid_scan(gateway: Gateway, server: RedisServer | None) -> bool:
    """Whether some chunks are written, and others are not."""
    async with client(gateway, server) as redis:
        entries = await redis.xrange(keys.BROADCASTS)
        if not entries:
            return False
        ((entry, _),) = entries
        stored = await redis.hget(keys.progress(keys.BROADCASTS, entry.decode()), "cursor")
    cursor = ScanCursor.parse(stored.decode() if stored else "")
    return cursor.chunks > 0 and not cursor.ended


@pytest.mark.usefixtures("dice")
async def test_a_kill_during_the_scan_loses_no_user(
    store: RedisServer | None,
    short_path: Path,
    dice: random.Random,
    capsys: pytest.CaptureFixture[str],
) -> None:
    deliveries = Deliveries()
    interrupted = 0
    async with running(short_path, store, SLOW, deliveries, AHEAD) as gateway:
        async with client(gateway, store) as redis:
            await lay_users(redis, {f"user{n}": (phone(n),) for n in range(CROWD, USERS)})
        body = {"to": {"all_users": True}, "message": "hello"}
        answer = await gateway.request("POST", "/rc/v1/users/ping", json=body)
        assert answer.status == 200
        for kill in KILLS:
            await deliveries.reach(len(deliveries.times) + dice.randrange(50, 250))
            interrupted += await in_mid_scan(gateway, store)
            await kill(gateway, dice)
        await deliveries.has(Delivery("hello", phone(n).pin or "") for n in range(USERS))
        await finished(gateway, [answer.ping_id])
        receipt = (await gateway.request("GET", f"/rc/v1/pings/{answer.ping_id}")).json()
    bound = len(KILLS) * (IN_FLIGHT + deliveries.busiest(SAVED_WITHIN_S))
    with capsys.disabled():
        print(
            f"\nall users on {store.kind if store else 'the embedded store'}: {len(deliveries.counts)} of {USERS}"
            f" devices, {deliveries.repeats} repeated (at most {bound}), {len(KILLS)} kills, {interrupted} of them"
            " in mid-scan"
        )
    assert interrupted
    assert len(deliveries.counts) == USERS
    assert deliveries.repeats <= bound
    assert receipt["counts"]["accepted"] == USERS
