"""`queue.durability: replicas`: whatever way a ping is found to be appended, a replica has it before that is said."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import pytest

from gateway.errors import PossiblyAccepted, StoreDown
from gateway.queue.append_batch import IdempotencyKey
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping
from tests.support.proxy import Proxy
from tests.support.redis import KINDS, RedisServer
from tests.support.worker_core import until

BOB = Ping(users=("bob",), message="hello")
KEY = IdempotencyKey(b"scope", b"body")


class Pair(NamedTuple):
    """A master behind a proxy, its replica, and a queue that waits for that."""

    queue: QueueProducer
    replica: RedisServer
    proxy: Proxy


@pytest.fixture(params=KINDS)
async def pair(
    request: pytest.FixtureRequest, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pair]:
    monkeypatch.setattr("gateway.queue.producer.REPLICATE_S", 0.2)
    async with _pair(request.param, unused_tcp_port) as found:
        yield found


@asynccontextmanager
async def _pair(kind: str, port: int) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        reached = {"port": str(port), "bind": "127.0.0.1", "repl-diskless-sync-delay": "0"}
        master = stack.enter_context(RedisServer(kind, options=reached))
        follows = {"replicaof": f"127.0.0.1 {port}"}
        replica = stack.enter_context(RedisServer(kind, options=follows))
        proxy = await stack.enter_async_context(Proxy(master.socket))
        connection = RedisConnection(RedisAddress.parse(proxy.address), "append", reply_s=1.0)
        await connection.open(30)
        stack.push_async_callback(connection.close)
        queue = QueueProducer(connection, BacklogLimits(1000, 1_000_000), replicas=1)
        await until(lambda: _accepts(queue))
        yield Pair(queue, replica, proxy)


async def _accepts(queue: QueueProducer) -> bool:
    try:
        await queue.append(BOB, 10)
    except PossiblyAccepted:  # the replica is still being filled
        return False
    return True


async def test_a_repeated_key_waits_for_a_replica_too(pair: Pair) -> None:
    pair.replica.freeze()
    with pytest.raises(PossiblyAccepted):
        await pair.queue.append(BOB, 10, KEY)
    with pytest.raises(StoreDown, match="no replica"):
        await pair.queue.append(BOB, 10, KEY)
    pair.replica.thaw()
    await until(lambda: _repeats(pair.queue))


async def _repeats(queue: QueueProducer) -> bool:
    try:
        return (await queue.append(BOB, 10, KEY)).repeated
    except StoreDown:
        return False


@pytest.mark.parametrize("frozen", [True, False])
async def test_an_append_whose_reply_was_lost_waits_for_a_replica_too(pair: Pair, frozen: bool) -> None:
    if frozen:
        pair.replica.freeze()
    pair.proxy.lose(b"{q}:append:")
    if frozen:
        with pytest.raises(PossiblyAccepted, match="no replica"):
            await pair.queue.append(BOB, 10)
    else:
        assert (await pair.queue.append(BOB, 10)).ping_id
    assert pair.proxy.struck.is_set()
