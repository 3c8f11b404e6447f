"""A script and its digest."""

import redis

from gateway.store.script import Script
from tests.support.redis import RedisServer


def test_redis_names_a_script_as_its_digest_does(redis_server: RedisServer) -> None:
    script = Script("return 'é'")
    with redis_server.client() as client:
        assert client.script_load(script.text) == script.sha
        assert isinstance(client, redis.Redis)
