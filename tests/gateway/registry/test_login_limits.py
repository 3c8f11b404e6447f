"""Attempts are counted before they are made, over all processes, and in this one where Redis takes no writes."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from gateway.errors import AuthenticationBusy, StoreDown, TooManyRequests
from gateway.registry import login_limits
from gateway.registry.login_limits import (
    CLIENT_ATTEMPTS,
    PAIR_ATTEMPTS,
    Attempt,
    LoginLimits,
    account_of,
)
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.client_factory import client
from tests.support.redis import KINDS, RedisServer, store_client


@pytest.fixture(params=KINDS)
def own_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A store whose configuration may be changed."""
    with RedisServer(request.param) as server:
        yield server


async def fail(limits: LoginLimits, account: str, who: str) -> Attempt:
    attempt = await limits.reserve(account, who)
    await limits.failed(attempt)
    return attempt


async def test_attempts_of_a_client_at_an_account_are_limited_separately(
    redis_client: Redis,
) -> None:
    limits = LoginLimits(redis_client)
    for number in range(PAIR_ATTEMPTS):
        assert (await fail(limits, "bob", "a")).account_attempts == number + 1
    with pytest.raises(TooManyRequests) as caught:
        await limits.reserve("bob", "a")
    assert 0 < caught.value.retry_after_s <= keys.LOGIN_WINDOW_S
    assert (await limits.reserve("bob", "b")).account_attempts == PAIR_ATTEMPTS + 1
    await limits.reserve("eve", "a")


async def test_attempts_of_a_client_at_all_accounts_are_limited(redis_client: Redis) -> None:
    limits = LoginLimits(redis_client)
    for number in range(CLIENT_ATTEMPTS):
        await fail(limits, f"user{number}", "a")
    with pytest.raises(TooManyRequests):
        await limits.reserve("another", "a")
    await limits.reserve("user0", "b")


async def test_attempts_in_progress_are_awaited(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The permitted number of correct passwords may be checked concurrently, and one more is not refused."""
    limits = LoginLimits(redis_client)
    under_way = [await limits.reserve("bob", "a") for _ in range(PAIR_ATTEMPTS)]
    another = asyncio.ensure_future(limits.reserve("bob", "a"))
    await limits.release(under_way[0])
    async with asyncio.timeout(30):
        await another
    monkeypatch.setattr(login_limits, "_RECHECKS", 1)
    with pytest.raises(AuthenticationBusy):
        await limits.reserve("bob", "a")


async def test_a_successful_attempt_does_not_count(redis_client: Redis) -> None:
    limits = LoginLimits(redis_client)
    for _ in range(3 * PAIR_ATTEMPTS):
        attempt = await limits.reserve("bob", "a")
        await limits.release(attempt)
    assert attempt.account_attempts == 1


async def test_counts_expire(redis_client: Redis) -> None:
    limits = LoginLimits(redis_client)
    attempt = await limits.reserve("bob", "a")
    found = [name async for name in redis_client.scan_iter("*")]
    assert len(found) == 3
    for name in found:
        assert 0 < await redis_client.pttl(name) <= keys.LOGIN_WINDOW_S * 1_000
    await redis_client.flushdb()
    await limits.release(attempt)  # what ended meanwhile stays away
    await limits.failed(attempt)
    assert await redis_client.dbsize() == 0


async def test_the_names_of_the_counts_are_short(redis_client: Redis) -> None:
    attempt = await LoginLimits(redis_client).reserve("x" * 1_000_000, "y" * 1_000_000)
    assert max(map(len, attempt.names)) < 64


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bob", "bOB"),
        ("bob", " bob "),
        ("strasse", "STRA\N{LATIN SMALL LETTER SHARP S}E"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"),
        ("bob", "\N{FULLWIDTH LATIN SMALL LETTER B}ob"),
    ],
)
def test_spellings_of_an_account_are_counted_together(one: str, other: str) -> None:
    assert account_of(one) == account_of(other)
    assert account_of(one) != account_of(one + "2")


async def test_attempts_are_counted_locally_while_redis_is_full(own_server: RedisServer) -> None:
    async with store_client(own_server.socket) as redis:
        await redis.config_set("maxmemory", "1")
        now = 100.0
        limits = LoginLimits(redis, lambda: now)
        attempt = await limits.reserve("bob", "a")
        assert attempt.local
        await limits.release(attempt)
        for _ in range(PAIR_ATTEMPTS):
            await fail(limits, "bob", "a")
        with pytest.raises(TooManyRequests) as caught:
            await limits.reserve("bob", "a")
        assert caught.value.retry_after_s == keys.LOGIN_WINDOW_S
        await limits.reserve("bob", "b")
        now += keys.LOGIN_WINDOW_S
        await limits.reserve("bob", "a")


async def test_local_attempts_in_progress_are_awaited_too(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_limits, "_RECHECKS", 1)
    async with store_client(own_server.socket) as redis:
        await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        limits = LoginLimits(redis)
        for _ in range(PAIR_ATTEMPTS):
            await limits.reserve("bob", "a")
        with pytest.raises(AuthenticationBusy):
            await limits.reserve("bob", "a")


async def test_the_counts_of_this_process_are_bounded(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_limits, "_LOCAL_MAX", 10)
    async with store_client(own_server.socket) as redis:
        await redis.config_set("maxmemory", "1")
        limits = LoginLimits(redis)
        for number in range(20):
            await fail(limits, f"user{number}", f"client{number}")
        assert len(limits._local._counts) == 10


async def test_an_unreachable_store_is_an_error() -> None:
    limits = LoginLimits(client(RedisAddress(unix_path="/nowhere")))
    with pytest.raises(StoreDown):
        await limits.reserve("bob", "a")
