"""Marks of dead tokens over real lanes and complete workers: their conditions, their scope and their end."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.delivery import token_trust
from gateway.registry import change_log
from gateway.registry.token_marks import token_digest
from gateway.registry.user_devices import LARGE_DEVICES
from gateway.settings import load
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from tests.support.apns_environments import apples
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import Client, apple, lay_user
from tests.support.worker import Worker, working
from tests.support.worker_core import WorkerCore, pipeline, read_until, until

GOOD, BAD = "aa" * 32, "bb" * 32
SYNCED = "2026-11-24T10:00:00+0000"
ACCEPTED = [("accepted", "")]
BAD_HERE = [("rejected", "BadDeviceToken")]


@pytest.fixture(autouse=True)
def token_of_another_environment(apns: ApnsSimulator) -> None:
    apns.faults.add(f"BadDeviceToken:token={BAD}")


async def ping(one: WorkerCore, user: str = "bob") -> list[tuple[str, str]]:
    """Ping a user; verdict and reason of each device."""
    ping_id = await one.append(user)
    await one.planner.deliver(await one.read(keys.PINGS))
    report = await one.done(ping_id)
    return [(device["verdict"], device.get("reason", "")) for device in report["devices"]]


async def prove(one: WorkerCore, redis: Redis) -> None:
    """Let the provider accept a send."""
    await lay_user(redis, "somebody", [apple(GOOD)])
    assert await ping(one, "somebody") == ACCEPTED


async def marked(redis: Redis, phone: Client) -> bool:
    return bool(await redis.exists(keys.dead(phone.client_id)))


async def lay(redis: Redis, **more: Any) -> Client:
    phone = apple(BAD, last_sync=SYNCED, **more)
    await lay_user(redis, "bob", [phone])
    return phone


def loaded(folder: Path, settings: dict[str, Any]) -> Any:
    file = folder / "changed.yml"
    file.write_text(yaml.safe_dump({"development": {"gateway": settings}}))
    return load(file, "development", {})


# Where a mark holds.


async def test_a_bad_token_is_skipped_for_seven_days(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    phone = await lay(redis_client)
    async with pipeline(redis_address, tmp_path, settings) as one:
        await prove(one, redis_client)
        assert await ping(one) == BAD_HERE
        await until(lambda: marked(redis_client, phone))
        assert 0 < await redis_client.ttl(keys.dead(phone.client_id)) <= 7 * 86_400
        ping_id = await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        assert (await one.done(ping_id))["skipped"] == {"dead_token": 1}


@pytest.mark.parametrize("changed", ["topic", "host"])
async def test_another_topic_or_host_ends_the_effect_at_once_and_the_way_back_has_it_again(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    changed: str,
) -> None:
    await lay(redis_client)
    async with pipeline(redis_address, tmp_path, settings) as one, apples(apns.signing_key) as other:
        await prove(one, redis_client)
        assert await ping(one) == BAD_HERE
        await until(lambda: _skipped(one))
        more: dict[str, Any] = {"topic": "com.example.other"}
        if changed == "host":
            more = {"port": other.production.port, "ca_file": str(other.production.ca_file)}
        before = len(apns.received)
        one.lanes.apply_settings(loaded(tmp_path, {**settings, "apns": {**settings["apns"], **more}}))
        fate = await ping(one)
        if changed == "host":
            assert fate == ACCEPTED
        else:
            assert fate == BAD_HERE  # asked, and nothing was accepted for this topic: nothing is marked
            assert apns.received[-1].topic == "com.example.other"
            assert len(apns.received) == before + 1
        one.lanes.apply_settings(loaded(tmp_path, settings))
        assert await ping(one) == []


async def _skipped(one: WorkerCore) -> bool:
    return await ping(one) == []


async def test_an_unregistered_token_is_skipped_for_every_topic(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], apns: ApnsSimulator
) -> None:
    phone = apple("cc" * 32, last_sync=SYNCED)
    await lay_user(redis_client, "bob", [phone])
    apns.faults.add("410:token=cccc")
    async with pipeline(redis_address, tmp_path, settings) as one:
        await prove(one, redis_client)
        assert await ping(one) == [("rejected", "Unregistered")]
        await until(lambda: marked(redis_client, phone))
        assert await redis_client.ttl(keys.dead(phone.client_id)) > keys.BAD_TOKEN_S
        changed = {**settings, "apns": {**settings["apns"], "topic": "com.example.other"}}
        one.lanes.apply_settings(loaded(tmp_path, changed))
        assert await ping(one) == []


async def test_the_older_record_of_a_device_is_used_if_the_newer_has_a_bad_token(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """The newer client of a phone has a bad token: pings and broadcasts go to the older one."""
    newer = apple(BAD, phone_id="phone", last_sync="2026-11-25T10:00:00+0000")
    await lay_user(redis_client, "bob", [newer, apple("dd" * 32, phone_id="phone", last_sync=SYNCED)])
    nobodies = [f"nobody{number}" for number in range(keys.BROADCAST_USERS)]
    async with pipeline(redis_address, tmp_path, settings) as one:
        await prove(one, redis_client)
        assert await ping(one) == BAD_HERE
        await until(lambda: marked(redis_client, newer))
        assert await ping(one) == ACCEPTED
        ping_id = await one.append("bob", *nobodies)
        (lease,) = await one.read(keys.BROADCASTS)
        await one.splitter.split(lease)
        await one.planner.deliver(await one.read(keys.CHUNKS))
        report = await one.done(ping_id)
        assert (report["counts"]["accepted"], report["skipped"]["dead_token"]) == (1, 1)


async def test_of_a_user_with_very_many_devices_the_bad_one_is_skipped(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    phones = [apple(f"{number:064x}") for number in range(LARGE_DEVICES)]
    await lay_user(redis_client, "bob", [apple(BAD), *phones])
    async with pipeline(redis_address, tmp_path, settings) as one:
        await prove(one, redis_client)
        reports = []
        for _ in range(2):
            ping_id = await one.append("bob")
            await one.planner.deliver(await one.read(keys.PINGS))
            await until(lambda: redis_client.xlen(keys.CHUNKS))
            await one.planner.deliver(await one.read(keys.CHUNKS))
            reports.append(await one.done(ping_id))
            await until(lambda: _any_mark(redis_client))
        first, second = reports
        assert (first["counts"]["rejected"], first["skipped"]) == (1, {})
        assert (second["counts"]["rejected"], second["skipped"]) == (0, {"dead_token": 1})


async def _any_mark(redis: Redis) -> bool:
    return bool([name async for name in redis.scan_iter("rhopush:dead:*")])


async def test_a_mark_of_an_earlier_version_for_a_bad_token_has_no_effect(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """It names no host and topic, and was made for 400 days."""
    phone = await lay(redis_client)
    await redis_client.set(keys.dead(phone.client_id), f"{token_digest(BAD)}:9999999999999:BadDeviceToken")
    async with pipeline(redis_address, tmp_path, settings) as one:
        assert await ping(one) == BAD_HERE


# Before the first acceptance.


async def test_a_lane_that_never_had_an_acceptance_marks_nothing_and_raises_an_alarm_over_all_workers(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_trust, "POLL_S", 0.01)
    phone = await lay(redis_client)
    async with (
        pipeline(redis_address, tmp_path, settings, name="tested:0") as one,
        pipeline(redis_address, tmp_path, settings, name="tested:1") as two,
    ):
        with capture_logs() as logs:
            for worker, times in ((one, 1), (two, 1)):
                for _ in range(times):
                    assert await ping(worker) == BAD_HERE
            await until(lambda: _count(redis_client, 2))
            assert not _alarms(logs)
            assert await ping(two) == BAD_HERE
            await until(lambda: _alarms(logs))
        (alarm,) = _alarms(logs)
        assert alarm["log_level"] == "error"
        assert alarm["check"].startswith("apns.environment")
        assert (alarm["topic"], alarm["answers"]) == (settings["apns"]["topic"], 3)
        assert alarm["host"] == f"127.0.0.1:{settings['apns']['port']}"
        assert refused_gauge(two) == 1
        assert not await marked(redis_client, phone)

        await prove(one, redis_client)  # the other worker learns of it
        await until(lambda: refused_gauge(two) == 0)
        assert await ping(two) == BAD_HERE
        await until(lambda: marked(redis_client, phone))


def _alarms(logs: list[Any]) -> list[Any]:
    return [log for log in logs if log["event"] == "all_device_tokens_rejected"]


async def _count(redis: Redis, count: int) -> bool:
    names = [name async for name in redis.scan_iter("rhopush:proof:*")]
    return bool(names) and await redis.hget(names[0], "bad") == b"%d" % count


def refused_gauge(one: WorkerCore) -> float | None:
    (lane,) = one.lanes.all()
    labels = {"lane": lane.name, "topic": "com.example.app"}
    return lane._metrics.registry.get_sample_value("rhopush_tokens_refused", labels)


@pytest.mark.parametrize("what", ["credential", "topic", "host"])
async def test_another_credential_topic_or_host_needs_a_new_proof(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    what: str,
) -> None:
    phone = await lay(redis_client)
    async with pipeline(redis_address, tmp_path, settings) as one, apples(apns.signing_key) as other:
        await prove(one, redis_client)
        other.tokens[BAD] = "elsewhere"
        moved = {"port": other.production.port, "ca_file": str(other.production.ca_file)}
        key = tmp_path / "again.p8"
        key.write_bytes(apns.signing_key.pem + b"\n")
        more = {"credential": {"key_file": str(key)}, "topic": {"topic": "com.other"}, "host": moved}[what]
        one.lanes.apply_settings(loaded(tmp_path, {**settings, "apns": {**settings["apns"], **more}}))
        assert await ping(one) == BAD_HERE
        await until(lambda: _any_count(redis_client))
        assert not await marked(redis_client, phone)


async def _any_count(redis: Redis) -> bool:
    return any([await redis.hexists(name, "bad") async for name in redis.scan_iter("rhopush:proof:*")])


async def test_a_changed_setting_ends_the_alarm_of_the_old_one(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    await lay(redis_client)
    async with pipeline(redis_address, tmp_path, settings) as one:
        for _ in range(3):
            await ping(one)
        await until(lambda: refused_gauge(one) == 1)
        changed = {**settings, "apns": {**settings["apns"], "topic": "com.example.other"}}
        one.lanes.apply_settings(loaded(tmp_path, changed))
        assert refused_gauge(one) == 0


# What ends a mark, in whole workers with their caches and snapshots.


@pytest.fixture(scope="module")
def valkey() -> Iterator[RedisServer]:
    with RedisServer("valkey") as server:
        yield server


class Stage:
    def __init__(self, stack: AsyncExitStack, valkey: RedisServer, folder: Path, settings: Any) -> None:
        self.redis = store_client(valkey.socket)
        self._stack, self._valkey, self._folder, self._settings = stack, valkey, folder, settings

    async def worker(self) -> Worker:
        """A worker that listens for changes."""
        one = await self._stack.enter_async_context(
            working(self._folder, self._valkey.address, self._settings)
        )
        await until(lambda: self.redis.hexists(keys.LISTENERS, "tested:0"))
        return one

    async def heard(self, name: str) -> None:
        """Wait until this listener has beaten twice: it has read the answer to the first, and all that came before."""
        before = int(await self.redis.hget(keys.LISTENERS, name))

        async def is_so() -> bool:
            return int(await self.redis.hget(keys.LISTENERS, name)) >= before + 2

        await until(is_so)

    async def mark(self, one: Worker, phone: Client) -> None:
        """A ping after an acceptance, and one that is skipped."""
        await lay_user(self.redis, "somebody", [apple(GOOD)])
        assert await one.verdicts(await one.accepted("somebody")) == ACCEPTED

        async def skipped() -> bool:
            report = await one.done(await one.accepted("bob"))
            return bool(report["skipped"] == {"dead_token": 1})

        await until(skipped)
        assert await marked(self.redis, phone)


@pytest.fixture
async def stage(valkey: RedisServer, tmp_path: Path, settings: dict[str, Any]) -> Any:
    valkey.flush()
    async with AsyncExitStack() as stack:
        made = Stage(stack, valkey, tmp_path, settings)
        stack.push_async_callback(made.redis.aclose)
        yield made


async def sync(redis: Redis, phone: Client) -> None:
    await redis.set(keys.client(phone.client_id, "last_sync"), "2026-11-25T10:00:00+0000")


async def write_again(redis: Redis, phone: Client) -> None:
    """Write the registration as RhoConnect does when the device registers with the same token."""
    await redis.mset(phone.keys("bob"))


async def ping_bob(one: Worker) -> list[tuple[str, str]]:
    return await one.verdicts(await one.accepted("bob"))


@pytest.mark.parametrize("reason", ["BadDeviceToken", "Unregistered"])
@pytest.mark.parametrize("act", [sync, write_again])
async def test_a_sync_and_a_registration_with_the_same_token_end_a_mark(
    stage: Stage, apns: ApnsSimulator, act: Callable[[Redis, Client], Awaitable[None]], reason: str
) -> None:
    phone = apple(BAD, last_sync=SYNCED if reason == "BadDeviceToken" else None)
    await lay_user(stage.redis, "bob", [phone])
    if reason == "Unregistered":  # since an instant before everything that proves the token alive
        apns.faults.clear()
        apns.faults.add(f"410=1:token={BAD}")
    one = await stage.worker()
    await stage.mark(one, phone)
    await act(stage.redis, phone)
    apns.faults.clear()
    assert await read_until(ACCEPTED, lambda: ping_bob(one)) == ACCEPTED


@pytest.mark.parametrize(("act", "ends"), [(sync, True), (write_again, False)])
async def test_a_mark_ends_with_the_next_sync_if_no_gateway_received_the_registration(
    stage: Stage,
    apns: ApnsSimulator,
    act: Callable[[Redis, Client], Awaitable[None]],
    ends: bool,
    tmp_path: Path,
) -> None:
    phone = await lay(stage.redis)
    async with AsyncExitStack() as stack:
        await Stage.mark(stage, await _alone(stack, stage), phone)
    apns.faults.clear()
    await act(stage.redis, phone)
    one = await stage.worker()
    report = await one.done(await one.accepted("bob"))
    assert (report["counts"]["accepted"], report["skipped"]) == ((1, {}) if ends else (0, {"dead_token": 1}))
    if not ends:
        await sync(stage.redis, phone)
        assert await read_until(ACCEPTED, lambda: ping_bob(one)) == ACCEPTED


async def _alone(stack: AsyncExitStack, stage: Stage) -> Worker:
    before, stage._stack = stage._stack, stack
    try:
        return await stage.worker()
    finally:
        stage._stack = before


async def test_two_workers_mark_each_device_once_and_both_end_it(
    stage: Stage,
    valkey: RedisServer,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(change_log, "HEARTBEAT_S", 0.05)
    phone = await lay(stage.redis)
    one = await stage.worker()
    async with working(tmp_path, valkey.address, settings, slot=1) as two:
        await until(lambda: stage.redis.hexists(keys.LISTENERS, "tested:1"))
        await stage.mark(one, phone)
        await stage.heard("tested:1")
        asked = len(apns.received)
        for worker in (one, two):
            assert (await worker.done(await worker.accepted("bob")))["skipped"] == {"dead_token": 1}
        assert len(apns.received) == asked
        apns.faults.clear()
        await sync(stage.redis, phone)
        for worker in (one, two):
            assert await read_until(ACCEPTED, partial(ping_bob, worker)) == ACCEPTED
