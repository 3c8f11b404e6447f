"""Registered users of a measurement, as the registry reads them."""

from redis import Redis as SyncRedis

from gateway.bench.population import TOPIC, lay_users, pin
from gateway.bench.wire import USER
from gateway.registry.registry import DeviceRegistry
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.support.redis import RedisServer


async def test_each_user_has_one_apple_device(redis_server: RedisServer, connection: RedisConnection) -> None:
    progress: list[float] = []
    with SyncRedis(unix_socket_path=str(redis_server.socket)) as client:
        lay_users(client, 1_200, progress.append)
        assert client.scard(keys.APP_USERS) == 1_200
        assert client.dbsize() == 1_200 * 15 + 1
    found = await DeviceRegistry(connection).devices_of([USER % 0, USER % 1_199, USER % 1_200])
    assert [[one.pin for one in user.devices] for user in found] == [[pin(0)], [pin(1_199)], []]
    assert {device.app_id for user in found for device in user.devices} == {TOPIC}
    assert progress == [0.0, 1_000 / 1_200]


async def test_existing_users_are_not_registered_again(
    redis_server: RedisServer, connection: RedisConnection
) -> None:
    with SyncRedis(unix_socket_path=str(redis_server.socket)) as client:
        lay_users(client, 3, first=2)
        assert client.smembers(keys.APP_USERS) == {(USER % 2).encode()}
