"""The check before both encoders: a value that Redis cannot carry is an error of the tree, and nothing is sent."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import RhoPushError, StoreDown
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from gateway.store.command_encoding import UnsendableCommand, pack
from gateway.store.connection import RedisConnection

# Integers of 4,300 digits and more end the process by SIGSEGV inside hiredis, so a failing test has no report.
UNSENDABLE: list[Any] = [
    2**64,
    -(2**63) - 1,
    10**4_299,
    16**3_600,
    -(16**3_600),
    "half a pair \ud800",
    None,
    True,
    ["a"],
    ("a",),
    {"a": 1},
    object(),
]
NAMES = [f"{type(value).__name__}{place}" for place, value in enumerate(UNSENDABLE)]
CARRIED: list[Any] = [0, -(2**63), 2**64 - 1, 1.5, "ü", "", b"\xff", b"x" * 100_000]


@pytest.mark.parametrize("value", UNSENDABLE, ids=NAMES)
def test_values_that_redis_cannot_carry_are_refused(value: Any) -> None:
    with pytest.raises(UnsendableCommand) as caught:
        pack(("SET", "key", value))
    assert isinstance(caught.value, StoreDown)
    assert (caught.value.status, caught.value.retryable) == (400, False)
    assert "\ud800" not in str(caught.value)


@pytest.mark.parametrize("value", CARRIED, ids=range(len(CARRIED)))
async def test_everything_else_arrives(connection: RedisConnection, value: Any) -> None:
    said = str(value) if isinstance(value, int | float) else value
    assert await connection.call("ECHO", value) == (said.encode() if isinstance(said, str) else said)


@pytest.mark.parametrize("value", UNSENDABLE, ids=NAMES)
async def test_a_link_goes_on_with_the_commands_around_it(connection: RedisConnection, value: Any) -> None:
    before, wrong, after = (
        connection.call("ECHO", "a"),
        connection.call("SET", "key", value),
        connection.call("ECHO", "b"),
    )
    assert await asyncio.gather(before, after) == [b"a", b"b"]
    with pytest.raises(UnsendableCommand):
        await wrong
    assert await connection.call("EXISTS", "key") == 0


@pytest.mark.parametrize("value", UNSENDABLE, ids=NAMES)
async def test_a_client_of_redis_py_goes_on(redis_address: str, value: Any) -> None:
    redis: Redis = client(RedisAddress.parse(redis_address))
    async with redis:
        with pytest.raises(RhoPushError):
            await redis.set("key", value)
        pipe = redis.pipeline(transaction=True)
        pipe.set("other", "x").set("key", value)
        with pytest.raises(RhoPushError):
            await pipe.execute()
        assert await redis.get("key") is None
        assert await redis.get("other") is None
        await redis.set("key", 5)
        assert await redis.get("key") == b"5"
