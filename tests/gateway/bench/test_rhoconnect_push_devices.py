"""RhoConnect Push devices of a measurement: the service accepts their registrations and requests."""

import orjson
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from gateway.bench.rhoconnect_push_devices import instance_of, poll, post, register, token_of
from gateway.store import keys
from protocols.rhoconnect_push.ids import Ids
from tests.gateway.registry.test_clients_owners import message
from tests.gateway.rhoconnect_push.harness import house
from tests.support.redis import RedisServer

DEVICES = 3


async def test_a_registered_device_gets_the_message_that_its_app_posts(
    redis_server: RedisServer, redis_client: Redis, redis_address: str
) -> None:
    progress: list[float] = []
    async with house(redis_client, redis_address) as push:
        with SyncRedis(unix_socket_path=str(redis_server.socket)) as client:
            register(client, push.ids, DEVICES, progress.append)
        assert progress == [1.0]
        async with push.wire() as device:
            device.writer.write(poll(push.ids, 1))
            assert await message(push.store, token_of(push.ids, 1), "hello") == 8  # the counter was 7
            answer = await device.answer()
        assert answer.status == 200
        assert b"hello" in answer.body


async def test_registrations_end_by_themselves(redis_server: RedisServer, redis_client: Redis) -> None:
    ids = Ids(b"a secret of the tests")
    with SyncRedis(unix_socket_path=str(redis_server.socket)) as client:
        register(client, ids, DEVICES, lambda _: None)
    names = [name async for name in redis_client.scan_iter()]
    assert len(names) == 3 * DEVICES
    for name in names:
        assert 0 < await redis_client.ttl(name) <= keys.MAILBOX_REGISTRATION_S


def test_requests_name_the_device_and_their_length() -> None:
    ids = Ids(b"a secret of the tests")
    assert poll(ids, 2, b"17").startswith(
        f"GET /nextMessage/{instance_of(ids, 2)}?lastMessage=17 HTTP/1.1".encode()
    )
    head, _, body = post(ids, 2).partition(b"\r\n\r\n")
    assert head.startswith(f"POST /messageQueue/{token_of(ids, 2)} HTTP/1.1".encode())
    assert f"Content-Length: {len(body)}".encode() in head
    assert orjson.loads(body)["data"]["alert"]
