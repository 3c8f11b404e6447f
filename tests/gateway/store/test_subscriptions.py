"""Channels that are subscribed to separately, since Redis may refuse some of them."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.store import subscriptions as module
from gateway.store.connection import RedisConnection
from gateway.store.subscriptions import Channel, Subscriptions
from tests.gateway.conftest import MakeLink
from tests.support.worker_core import until

OPEN, CLOSED = Channel("open", "opens are lost"), Channel("closed:*", "closings are lost", pattern=True)


async def test_names_and_patterns_are_subscribed_to(make_link: MakeLink, redis_client: Redis) -> None:
    heard: list[Any] = []
    connection = await make_link(on_push=heard.append)
    subscriptions = Subscriptions(lambda: connection, [OPEN, CLOSED])
    subscriptions.begin()
    await connection.call("PING")
    assert await redis_client.publish("open", "1") == 1
    assert await redis_client.publish("closed:x", "2") == 1
    await until(lambda: len(heard) == 2)
    assert [message[0] for message in heard] == [b"message", b"pmessage"]
    assert subscriptions.refused == {}


@pytest.fixture
async def limited(redis_client: Redis, redis_address: str, make_link: MakeLink) -> Any:
    """A connection of a user who may subscribe to one channel only."""
    await redis_client.execute_command(
        "ACL", "SETUSER", "ear", "on", ">pw", "~*", "+@all", "resetchannels", "&open"
    )
    yield await make_link(address=redis_address.replace("unix://", "unix://ear:pw@"), on_push=lambda _: None)
    await redis_client.execute_command("ACL", "DELUSER", "ear")


async def test_a_refused_channel_is_logged_once_and_tried_again(
    limited: RedisConnection, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.02)
    changes: list[int] = []
    subscriptions = Subscriptions(lambda: limited, [OPEN, CLOSED], lambda: changes.append(1))
    with capture_logs() as logs:
        subscriptions.begin()
        await until(lambda: subscriptions.refused)
        assert await redis_client.publish("open", "1") == 1
        await asyncio.sleep(0.1)  # some further attempts
        assert list(subscriptions.refused) == [CLOSED.name]
        await redis_client.execute_command("ACL", "SETUSER", "ear", "&closed:*")
        await until(lambda: not subscriptions.refused)
    subscriptions.close()
    logs = [line for line in logs if "channel" in line]
    assert [line["event"] for line in logs] == ["redis_channel_refused", "redis_channel_accepted"]
    assert (logs[0]["channel"], logs[0]["consequence"]) == (CLOSED.name, CLOSED.consequence)
    assert len(changes) == 2


async def test_after_the_end_nothing_is_tried(
    limited: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.02)
    subscriptions = Subscriptions(lambda: limited, [CLOSED])
    subscriptions.begin()
    await until(lambda: subscriptions.refused)
    subscriptions.close()
    tried: list[object] = []
    monkeypatch.setattr(limited, "subscribe", lambda *channels, **_: tried.append(channels))
    await asyncio.sleep(0.1)  # the time of several attempts
    assert tried == []
