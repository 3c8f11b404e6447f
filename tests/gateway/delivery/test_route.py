"""`apns.environment: auto`: which of Apple's hosts takes a device's token is learned and remembered."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from gateway.delivery.circuit_breaker import CLOSED_BREAKER
from gateway.settings import Settings, load
from gateway.simulators.keys import make_team_key
from gateway.store import keys
from tests.support.apns_environments import Apple, apples
from tests.support.rhoconnect import Client, apple, lay_user
from tests.support.worker_core import WorkerCore, pipeline, until

DEVELOPERS, CUSTOMERS, NOBODYS = "de" * 32, "cc" * 32, "ff" * 32


@pytest.fixture
async def apns() -> AsyncIterator[Apple]:
    async with apples() as both:
        both.tokens.update({DEVELOPERS: "sandbox", CUSTOMERS: "production", NOBODYS: "elsewhere"})
        yield both


async def ping(one: WorkerCore, user: str = "bob") -> list[tuple[str, str]]:
    """Ping a user; verdict and reason of each device."""
    ping_id = await one.append(user)
    await one.planner.deliver(await one.read(keys.PINGS))
    report = await one.done(ping_id)
    return [(device["verdict"], device.get("reason", "")) for device in report["devices"]]


async def lay(redis: Redis, pin: str, **more: str) -> Client:
    phone = apple(pin, **more)
    await lay_user(redis, "bob", [phone])
    return phone


async def learned(redis: Redis, phone: Client) -> None:
    await until(lambda: redis.exists(keys.dead(phone.client_id)))


async def test_a_customers_device_is_reached_at_once(
    redis_address: str, redis_client: Redis, tmp_path: Path, apns: Apple
) -> None:
    phone = await lay(redis_client, CUSTOMERS)
    async with pipeline(redis_address, tmp_path, apns.settings()) as one:
        assert await ping(one) == [("accepted", "")]
    assert apns.seen() == ([200], [])
    assert not await redis_client.exists(keys.dead(phone.client_id))


async def test_a_developers_device_is_reached_by_the_same_ping_and_directly_from_then_on(
    redis_address: str, redis_client: Redis, tmp_path: Path, apns: Apple
) -> None:
    phone = await lay(redis_client, DEVELOPERS, last_sync="2026-11-24T10:00:00+0000")
    async with pipeline(redis_address, tmp_path, apns.settings(), name="one:0") as one:
        assert await ping(one) == [("accepted", "")]
        assert apns.seen() == ([400], [200])
        first, second = apns.production.received[0], apns.sandbox.received[0]
        assert first.headers["apns-id"] == second.headers["apns-id"]
        await learned(redis_client, phone)
        assert await ping(one) == [("accepted", "")]
        assert apns.seen() == ([400], [200, 200])
    # Neither a restart, nor a sync, nor another worker forgets it.
    await redis_client.set(keys.client(phone.client_id, "last_sync"), "2026-11-25T10:00:00+0000")
    async with pipeline(redis_address, tmp_path, apns.settings(), name="two:0") as two:
        assert await ping(two) == [("accepted", "")]
        assert apns.seen() == ([400], [200] * 3)
        # The app from the store has another token.
        await redis_client.set(keys.client(phone.client_id, "device_pin"), CUSTOMERS)
        assert await ping(two) == [("accepted", "")]
    assert apns.seen() == ([400, 200], [200] * 3)


async def test_a_broadcast_learns_and_goes_directly(
    redis_address: str, redis_client: Redis, tmp_path: Path, apns: Apple
) -> None:
    phone = await lay(redis_client, DEVELOPERS)
    nobodies = [f"nobody{number}" for number in range(keys.BROADCAST_USERS)]
    async with pipeline(redis_address, tmp_path, apns.settings()) as one:
        for times in (1, 2):
            ping_id = await one.append("bob", *nobodies)
            (lease,) = await one.read(keys.BROADCASTS)
            await one.splitter.split(lease)
            await one.planner.deliver(await one.read(keys.CHUNKS))
            await one.in_flight.wait_empty(30)
            assert (await one.report(ping_id))["counts"]["accepted"] == 1
            await learned(redis_client, phone)
            assert apns.seen() == ([400], [200] * times)


@pytest.mark.parametrize("proven", [False, True])
async def test_bad_at_both_is_rejected_once_and_marked_only_after_an_acceptance(
    redis_address: str, redis_client: Redis, tmp_path: Path, apns: Apple, proven: bool
) -> None:
    phone = await lay(redis_client, NOBODYS)
    await lay_user(redis_client, "sue", [apple(DEVELOPERS)])
    async with pipeline(redis_address, tmp_path, apns.settings()) as one:
        if proven:
            assert await ping(one, "sue") == [("accepted", "")]
        before = apns.seen()
        assert await ping(one) == [("rejected", "BadDeviceToken")]
        assert [len(now) - len(then) for now, then in zip(apns.seen(), before, strict=True)] == [1, 1]
        if proven:
            await learned(redis_client, phone)
            assert await ping(one) == []
        else:
            assert await ping(one) == [("rejected", "BadDeviceToken")]
            assert not await redis_client.exists(keys.dead(phone.client_id))


async def test_a_wrong_memory_ends_when_the_remembered_host_refuses_too(
    redis_address: str, redis_client: Redis, tmp_path: Path, apns: Apple
) -> None:
    phone = await lay(redis_client, DEVELOPERS)
    async with pipeline(redis_address, tmp_path, apns.settings()) as one:
        await ping(one)
        await learned(redis_client, phone)
        apns.tokens[DEVELOPERS] = "elsewhere"
        before = apns.seen()
        assert await ping(one) == [("rejected", "BadDeviceToken")]
        assert [len(now) - len(then) for now, then in zip(apns.seen(), before, strict=True)] == [1, 1]
        await until(lambda: _ttl_is_at_most(redis_client, phone, keys.BAD_TOKEN_S))
        assert await ping(one) == []
        # A sync: both hosts are asked again.
        apns.tokens[DEVELOPERS] = "production"
        await redis_client.set(keys.client(phone.client_id, "last_sync"), "2026-11-25T10:00:00+0000")
        assert await ping(one) == [("accepted", "")]


async def test_a_device_that_changes_its_host_is_reached_by_the_same_ping_and_remembered_anew(
    redis_address: str, redis_client: Redis, tmp_path: Path, apns: Apple
) -> None:
    phone = await lay(redis_client, DEVELOPERS)
    async with pipeline(redis_address, tmp_path, apns.settings()) as one:
        await ping(one)
        await learned(redis_client, phone)
        mark = await redis_client.get(keys.dead(phone.client_id))
        for environment, seen in (("production", ([400, 200], [200, 400])), ("sandbox", None)):
            apns.tokens[DEVELOPERS] = environment
            assert await ping(one) == [("accepted", "")]
            assert seen in (None, apns.seen())
            await until(lambda known=mark: _is_other(redis_client, phone, known))
            mark = await redis_client.get(keys.dead(phone.client_id))
            before = apns.seen()
            assert await ping(one) == [("accepted", "")]
            assert sum(len(now) - len(then) for now, then in zip(apns.seen(), before, strict=True)) == 1


async def _is_other(redis: Redis, phone: Client, mark: bytes) -> bool:
    return bool(await redis.get(keys.dead(phone.client_id)) != mark)


async def _ttl_is_at_most(redis: Redis, phone: Client, most_s: int) -> bool:
    return 0 < await redis.ttl(keys.dead(phone.client_id)) <= most_s


@pytest.mark.parametrize(
    ("limit", "pin", "statuses"),
    [
        ("sandbox", DEVELOPERS, ([403], [200])),
        ("production", CUSTOMERS, ([200], [])),
        ("production", DEVELOPERS, ([400], [403])),
    ],
)
async def test_a_key_of_one_environment_does_not_halt_the_other(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    limit: str,
    pin: str,
    statuses: tuple[list[int], list[int]],
) -> None:
    """Team keys may be limited to an environment (providers A5)."""
    async with apples(make_team_key(environment=limit)) as both:
        both.tokens.update({DEVELOPERS: "sandbox", CUSTOMERS: "production"})
        await lay(redis_client, pin)
        async with pipeline(redis_address, tmp_path, both.settings()) as one:
            fate = ("accepted", "") if [200] in statuses else ("rejected", "BadDeviceToken")
            assert await ping(one) == [fate]
            assert not any(lane.halted for lane in one.lanes.all())
        assert both.seen() == statuses


async def test_an_environment_that_changes_at_run_time_loses_nothing(
    redis_address: str, redis_client: Redis, tmp_path: Path, apns: Apple
) -> None:
    phone = await lay(redis_client, DEVELOPERS)
    async with pipeline(redis_address, tmp_path, apns.settings("production")) as one:
        assert await ping(one) == [("rejected", "BadDeviceToken")]
        for environment in ("auto", "sandbox", "auto", "production"):
            one.lanes.apply_settings(_loaded(tmp_path, apns, environment))
            fate = ("rejected", "BadDeviceToken") if environment == "production" else ("accepted", "")
            assert await ping(one) == [fate], environment
            if environment != "production":
                await learned(redis_client, phone)
        one.lanes.apply_settings(_loaded(tmp_path, apns, "auto"))
        assert await ping(one) == [("accepted", "")]


def _loaded(folder: Path, apns: Apple, environment: str) -> Settings:
    file = folder / f"{environment}.yml"
    file.write_text(yaml.safe_dump({"development": {"gateway": apns.settings(environment)}}))
    return load(file, "development", {})


async def test_a_fallback_ends_with_the_lease_of_its_delivery(
    redis_address: str, redis_client: Redis, tmp_path: Path, apns: Apple
) -> None:
    """Another worker delivers it then: this one keeps nothing of it."""
    await lay(redis_client, DEVELOPERS)
    async with pipeline(redis_address, tmp_path, apns.settings()) as one:
        route: Any = one.lanes.route("apns", "")
        sandbox = route.fallback.lane
        sandbox._breaker = sandbox._breaker.after_refusal("refused", float("inf"))
        await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        await until(lambda: sandbox._fallbacks)
        (delivery,) = sandbox._fallbacks
        delivery.batch.lose_lease()
        sandbox._breaker = CLOSED_BREAKER
        sandbox.wake()
        await until(lambda: not sandbox.backlog)
        sandbox.sweep()
        assert not sandbox._fallbacks
    assert apns.seen() == ([400], [])
