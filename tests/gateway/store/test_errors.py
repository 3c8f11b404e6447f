"""Conversion of redis-py's errors to the gateway's."""

import pytest
from redis import exceptions
from redis.asyncio import Redis

from gateway.errors import StoreBusy, StoreDown, StoreRefused
from gateway.store.errors import RedisCommands, redis_errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.MaxConnectionsError("full"), StoreBusy),
        (exceptions.ConnectionError("gone"), StoreDown),
        (exceptions.TimeoutError("late"), StoreDown),
        (ConnectionResetError(104, "x"), StoreDown),
        (exceptions.NoPermissionError("NOPERM this user has no permissions"), StoreRefused),
    ],
)
def test_each_failure_has_its_kind_and_its_cause(error: Exception, kind: type[StoreDown]) -> None:
    with pytest.raises(StoreDown) as caught, redis_errors():
        raise error
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


def test_another_error_is_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), redis_errors():
        raise ZeroDivisionError


async def test_single_commands_have_these_errors(redis_client: Redis) -> None:
    call = RedisCommands(redis_client)
    await call("SET", "a", "1")
    assert await call("GET", "a") == b"1"
    with pytest.raises(StoreDown, match="WRONGTYPE"):
        await call("LPUSH", "a", "2")


async def test_texts_are_decoded_as_far_as_they_are_texts(redis_client: Redis) -> None:
    await redis_client.mset({"a": "ü", "b": b"\xff"})
    assert await RedisCommands(redis_client).texts("MGET", "a", "none", "b") == ["ü", None, "\ufffd"]
