"""Pings with `to` and with the badge "+1", planned and delivered by a worker's parts."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.delivery.dead_tokens import DeadTokens
from gateway.delivery.route import Route
from gateway.fanout.addressing import LISTED, raw_device, split_users
from gateway.queue import schedule
from gateway.queue.canceller import PingCanceller
from gateway.queue.outbox import EventPlan
from gateway.queue.schedule_producer import ScheduleProducer
from gateway.registry import token_marks
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.ping.addressees import Addressees, RawToken
from protocols.ping.model import Ping
from tests.gateway.queue.test_schedule import ROOMY, add, make_due
from tests.support.providers import TOPIC
from tests.support.rhoconnect import Client, android, apple, lay_users
from tests.support.schedule import make_all_due
from tests.support.worker_core import WorkerCore, now_ms, pipeline, until

Open = Callable[[], AbstractAsyncContextManager[WorkerCore]]
SYNCED = datetime(2026, 1, 1, tzinfo=UTC)


def pin(number: int) -> str:
    return f"{number:064x}"


def raw(number: int, app: str = "") -> RawToken:
    return RawToken("apns", pin(number), app)


BOB = apple(pin(1), device_app_id="one", last_sync=SYNCED)
EVE = apple(pin(2), device_app_id="two", phone_id="phone")
EVE_ANDROID = android("registration", device_app_id="two")
DEAD = apple(pin(3))
MANY = [apple(pin(1000 + number), device_app_id="one" if number % 2 else "two") for number in range(70)]
USERS: dict[str, Sequence[Client]] = {"bob": [BOB], "eve": [EVE, EVE_ANDROID], "old": [DEAD], "many": MANY}


@pytest.fixture
def opened(redis_address: str, tmp_path: Path, settings: dict[str, Any]) -> Open:
    return lambda: pipeline(redis_address, tmp_path, settings)


@pytest.fixture(autouse=True)
async def laid(redis_client: Redis) -> None:
    await lay_users(redis_client, USERS)
    before, after = token_marks.around(DEAD.pin or "", "Unregistered", now_ms(), ())
    mark = f"{before}da39a3ee{after}"  # SHA-1 of a last sync that never was
    await redis_client.set(keys.dead(DEAD.client_id), mark)


async def deliver(one: WorkerCore, *users: str, **fields: Any) -> dict[str, Any]:
    """Queue a ping, deliver it with all of its chunks, and return its receipt."""
    ping_id = await one.append(*users, **fields)
    await one.planner.deliver(await one.read(keys.PINGS))
    while not one.in_flight.empty:  # a split ping appends chunks in the background
        await one.planner.deliver(await one.read(keys.CHUNKS))
        await asyncio.sleep(0.002)
    if leases := await one.read(keys.CHUNKS):
        await one.planner.deliver(leases)
    return await one.done(ping_id)


@pytest.mark.parametrize(
    ("users", "to", "reached", "skipped"),
    [
        (["bob"], Addressees(devices=(EVE.client_id,)), [1, 2], {}),
        ([], Addressees(devices=(BOB.client_id, "nobody")), [1], {"unknown_device": 1}),
        (["bob"], Addressees(devices=(BOB.client_id,)), [1], {"repeated": 1}),
        ([], Addressees(devices=(DEAD.client_id, EVE.client_id)), [2], {"dead_token": 1}),
        (["bob", "eve"], Addressees(apps=("one",)), [1], {"app_excluded": 2}),
        (["bob", "eve"], Addressees(providers=("apns",)), [1, 2], {"provider_excluded": 1}),
        (
            ["bob", "eve", "nobody"],
            Addressees(except_users=("eve", "nobody else")),
            [1],
            {"user_excluded": 1, "unknown_user": 1},
        ),
        (
            [],
            Addressees(devices=(BOB.client_id, EVE.client_id), except_users=("eve",)),
            [1],
            {"user_excluded": 1},
        ),
        ([], Addressees(devices=(BOB.client_id, EVE.client_id), apps=("two",)), [2], {"app_excluded": 1}),
        ([], Addressees(tokens=(raw(7), raw(8, "three"))), [7, 8], {}),
        (["bob"], Addressees(tokens=(raw(1), raw(7))), [1, 7], {"repeated": 1}),
        ([], Addressees(devices=(EVE.client_id,), tokens=(raw(2),)), [2], {"repeated": 1}),
        (
            ["eve"],
            Addressees(tokens=(raw(2),), providers=("apns",)),
            [2],
            {"provider_excluded": 1, "repeated": 1},
        ),
        (
            [],
            Addressees(devices=(EVE.client_id,), tokens=(raw(2, "three"),), apps=("three",)),
            [2],
            {"app_excluded": 1},
        ),
        (
            [],
            Addressees(tokens=(raw(7), raw(8, "three")), apps=("three",), providers=("apns",)),
            [8],
            {"app_excluded": 1},
        ),
        ([], Addressees(tokens=(RawToken("courier", "x"),)), [], {"unsupported_platform": 1}),
        ([], None, [], {"empty_audience": 1}),
        ([], Addressees(), [], {"empty_audience": 1}),
        ([], Addressees(apps=("one",)), [], {"empty_audience": 1}),
    ],
)
async def test_reached_and_omitted_recipients(
    opened: Open,
    apns: ApnsSimulator,
    users: list[str],
    to: Addressees | None,
    reached: list[int],
    skipped: dict[str, int],
) -> None:
    async with opened() as one:
        report = await deliver(one, *users, to=to)
    assert sorted(record.token for record in apns.received) == [pin(number) for number in reached]
    assert (report["state"], report["skipped"]) == ("done", skipped)
    assert report["counts"]["accepted"] == len(reached)
    assert pin(7) not in str(report)


@pytest.mark.parametrize("registered", [None, str, str.upper])
async def test_a_push_token_is_one_device_in_each_spelling(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, registered: Callable[[str], str] | None
) -> None:
    """An APNs token is a hexadecimal number, and old versions of iOS print it with spaces."""
    token = pin(0xABCDEF)
    spaced = " ".join(token[start : start + 8] for start in range(0, 64, 8))
    tokens = tuple(RawToken("apns", one) for one in (token.upper(), spaced, token))
    if registered is not None:
        await lay_users(redis_client, {"odd": [apple(registered(token), phone_id="phone")]})
    async with opened() as one:
        report = await deliver(one, *(["odd"] if registered else []), to=Addressees(tokens=tokens))
    assert [record.token.lower() for record in apns.received] == [token]
    assert report["skipped"] == {"repeated": 3 if registered else 2}


async def test_a_cancelled_ping_without_users_leaves_nobody_out(opened: Open) -> None:
    async with opened() as one:
        ping_id = await one.append()
        one.cancel(ping_id)
        await one.planner.deliver(await one.read(keys.PINGS))
        assert (await one.done(ping_id))["skipped"] == {}


async def test_a_ping_that_was_cancelled_on_the_schedule_is_counted_once(
    opened: Open, connection: RedisConnection, redis_client: Redis
) -> None:
    """The batch of the ping is released for its other ping."""
    async with opened() as one:
        ids = await add(ScheduleProducer(connection, ROOMY, one.queue), count=2)
        await PingCanceller(connection, one.receipts, 60, EventPlan()).cancel(ids[0])
        await make_due(redis_client)
        await schedule.release(connection)
        await one.planner.deliver(await one.read(keys.PINGS))
        reports = [await one.done(ping_id) for ping_id in ids]
    assert [(report["state"], report["skipped"]) for report in reports] == [
        ("cancelled", {"cancelled": 1}),
        ("done", {}),
    ]


@pytest.mark.parametrize("users", [[], ["bob", "eve"], ["many"]])
async def test_a_token_that_is_limited_to_an_app_reaches_no_other_app(
    opened: Open, apns: ApnsSimulator, users: list[str]
) -> None:
    """However the recipients are named. A push token without an app is not of the app."""
    listed = (BOB.client_id, EVE.client_id)
    tokens = (raw(7, "one"), raw(8, "three"), raw(9))
    async with opened() as one:
        report = await deliver(one, *users, to=Addressees(devices=listed, tokens=tokens), apps=("one",))
    reached = {record.token for record in apns.received}
    assert reached >= {pin(1), pin(7)}
    assert not reached & {pin(2), pin(8), pin(9), *(pin(1000 + number) for number in range(0, 70, 2))}
    assert report["skipped"]["app_not_allowed"] >= 3


async def test_a_user_with_many_devices_is_narrowed_and_lists_come_with_it(
    opened: Open, apns: ApnsSimulator
) -> None:
    """A ping that is split: the devices of the lists are one more user of it."""
    to = Addressees(devices=(MANY[1].client_id, EVE.client_id), tokens=(raw(7, "one"),), apps=("one",))
    async with opened() as one:
        report = await deliver(one, "many", "bob", to=to)
    expected = [1, 7, *(1000 + number for number in range(1, 70, 2))]
    assert sorted(record.token for record in apns.received) == [pin(number) for number in expected]
    # 35 devices of many, and eve's; the other registration of a device that is reached already
    assert report["skipped"] == {"app_excluded": 36, "repeated": 1}
    assert (report["state"], report["counts"]["accepted"]) == ("done", len(expected))


async def test_a_large_user_who_is_excepted_gets_nothing(opened: Open, apns: ApnsSimulator) -> None:
    async with opened() as one:
        report = await deliver(one, "many", "bob", to=Addressees(except_users=("many",)))
    assert [record.token for record in apns.received] == [pin(1)]
    assert report["skipped"] == {"user_excluded": 1}


async def retry(one: WorkerCore, redis: Redis) -> None:
    await make_all_due(redis)
    await one.streams.release_due(100)
    await one.planner.deliver(await one.read(keys.RETRIES))


async def test_a_raw_token_survives_retries_and_a_restart(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    tokens = (raw(7), raw(8))
    apns.faults.add(f"503:token={pin(7)}")
    async with opened() as one:
        report = await deliver(one, "bob", to=Addressees(tokens=tokens))
        assert (report["state"], report["counts"]["accepted"], report["counts"]["later"]) == ("open", 2, 1)
        await retry(one, redis_client)
        assert (await one.done(report["ping_id"]))["state"] == "open"
    apns.faults.clear()
    async with opened() as one:
        await retry(one, redis_client)
        report = await one.done(report["ping_id"])
    assert (report["state"], report["counts"]["accepted"]) == ("done", 3)
    rows = {row["client_id"]: row["verdict"] for row in report["devices"]}
    assert rows == dict.fromkeys((BOB.client_id, raw(7).client_id, raw(8).client_id), "accepted")
    assert sorted(record.token for record in apns.received.accepted) == [pin(1), pin(7), pin(8)]


async def test_a_redelivered_ping_reaches_its_raw_tokens_once(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    apns.faults.add(f"silence:token={pin(8)}")
    async with opened() as one:
        one.in_flight.start()
        ping_id = await one.append(to=Addressees(tokens=(raw(7), raw(8))))
        (lease,) = await one.read(keys.PINGS)
        await one.planner.deliver([lease])
        name = keys.progress(lease.stream, lease.entry)
        await until(lambda: redis_client.hexists(name, "verdicts"))
    apns.faults.clear()
    async with opened() as one:
        await one.planner.deliver(await one.streams.resume(keys.PINGS))
        report = await one.done(ping_id)
    assert (report["state"], report["counts"]["accepted"]) == ("done", 2)
    assert sorted(record.token for record in apns.received.accepted) == [pin(7), pin(8)]


async def test_a_rejected_raw_token_marks_nothing(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    apns.faults.add(f"410:token={pin(7)}")
    tokens = (raw(7), RawToken("apns", "no hexadecimal number"))
    async with opened() as one:
        await deliver(one, "bob")  # an acceptance: from now on, dead tokens are believed
        report = await deliver(one, "eve", to=Addressees(tokens=tokens, providers=("apns",)))
        assert isinstance(one.lanes.tokens, DeadTokens)
        await one.lanes.tokens.close()
    reasons = {row.get("reason") for row in report["devices"]}
    assert reasons == {None, "Unregistered", "invalid_device_token"}
    assert await redis_client.keys("rhopush:dead:token:*") == []


def badges(apns: ApnsSimulator) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for record in apns.received:
        found.setdefault(record.token, []).append(record.payload["aps"].get("badge"))
    return found


async def test_a_badge_counts_each_ping_once_over_retries(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    plus = {"badge": 1, "badge_increment": 1}
    async with opened() as one:
        await deliver(one, "bob", **plus)
        apns.faults.add("503=1:next=1")
        first = await deliver(one, "bob", "eve", **plus, to=Addressees(tokens=(raw(7),)))
        await deliver(one, "bob", **plus)
        await retry(one, redis_client)
        assert (await one.done(first["ping_id"]))["state"] == "done"
        await deliver(one, "bob", badge=9)
    found = badges(apns)
    assert sorted(found[pin(1)]) in ([1, 2, 2, 3, 9], [1, 2, 3, 9])
    assert set(found[pin(2)]) == set(found[pin(7)]) == {1}
    assert sum(map(len, found.values())) == 4 + 2 + 1


async def test_a_badge_keeps_its_number_when_a_ping_is_redelivered(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    plus = {"badge": 1, "badge_increment": 1}
    async with opened() as one:
        await deliver(one, "bob", **plus)
        apns.faults.add("silence:next=1")
        ping_id = await one.append("bob", **plus)
        await one.planner.deliver(await one.read(keys.PINGS))
        await apns.received.wait(2)
    async with opened() as one:
        await one.planner.deliver(await one.streams.resume(keys.PINGS))
        await one.done(ping_id)
        await deliver(one, "bob", **plus)
    assert badges(apns)[pin(1)] == [1, 2, 2, 3]


async def test_a_sync_restarts_the_badge(opened: Open, redis_client: Redis, apns: ApnsSimulator) -> None:
    plus = {"badge": 1, "badge_increment": 1}
    async with opened() as one:
        for _ in range(3):
            await deliver(one, "bob", **plus)
        await redis_client.set(keys.client(BOB.client_id, "last_sync"), "2026-02-01T00:00:00+0000")
        for _ in range(2):
            await deliver(one, "bob", **plus)
    assert badges(apns)[pin(1)] == [1, 2, 3, 1, 2]


async def test_a_badge_counts_in_the_chunks_of_a_split_ping(opened: Open, apns: ApnsSimulator) -> None:
    async with opened() as one:
        await deliver(one, "bob", badge=1, badge_increment=1)
        await deliver(one, "many", "bob", badge=1, badge_increment=1)
    found = badges(apns)
    assert found.pop(pin(1)) == [1, 2]
    assert list(found.values()) == [[1]] * 70


@pytest.mark.parametrize("users", [["bob", "eve"], ["bob", "eve", *(f"user{n}" for n in range(201))]])
async def test_a_badge_counts_no_device_that_the_sender_may_not_reach(
    opened: Open, redis_client: Redis, apns: ApnsSimulator, users: list[str]
) -> None:
    """Also if the ping is a broadcast."""
    async with opened() as one:
        ping_id = await one.append(*users, badge=1, badge_increment=1, apps=("one",))
        for lease in one.in_flight.claim(await one.read(keys.BROADCASTS)):
            await one.splitter.split(lease)
        for stream in (keys.PINGS, keys.CHUNKS):
            await one.planner.deliver(await one.read(stream))
        report = await one.done(ping_id)
    assert [record.token for record in apns.received] == [pin(1)]
    assert report["skipped"]["app_not_allowed"] == 2
    assert await redis_client.hget(keys.badge(BOB.client_id), "count") == b"1"
    assert not await redis_client.exists(keys.badge(EVE.client_id), keys.badge(EVE_ANDROID.client_id))


async def test_pings_without_a_counting_badge_make_no_counter(opened: Open, redis_client: Redis) -> None:
    async with opened() as one:
        await deliver(one, "bob", badge=5)
        await deliver(one, "bob", to=Addressees(devices=(EVE.client_id,)))
    assert await redis_client.keys("*badge*") == []


def test_a_raw_token_has_a_type_that_its_provider_serves() -> None:
    types = {"apple": "apns", "iphone": "apns", "fcm": "fcm"}
    device = raw_device(raw(7, TOPIC), types)
    assert types[device.push_type] == "apns"
    assert (device.pin, device.app_id) == (pin(7), TOPIC)
    assert raw_device(RawToken("courier", "x"), types).push_type not in types


def test_lists_are_one_more_user_of_a_ping_that_is_split() -> None:
    assert split_users(Ping(users=("bob",))) == ("bob",)
    assert split_users(Ping(users=("bob",), to=Addressees(apps=("a",)))) == ("bob",)
    assert split_users(Ping(users=("bob",), to=Addressees(devices=("c1",)))) == ("bob", LISTED)


async def test_a_bad_token_of_a_listed_device_does_not_hide_another_one_of_the_same_phone(
    opened: Open, redis_client: Redis, apns: ApnsSimulator
) -> None:
    bad, good = (apple(pin(number), phone_id="of both") for number in (20, 21))
    async with opened() as one:
        await lay_users(redis_client, {"amy": [bad, good]})
        route = one.lanes.route("apns", "")
        assert isinstance(route, Route)
        assert route.token_scope is not None
        before, after = token_marks.around(pin(20), "BadDeviceToken", now_ms(), (route.token_scope.key,))
        mark = f"{before}da39a3ee{after}"  # SHA-1 of a last sync that never was
        await redis_client.set(keys.dead(bad.client_id), mark)
        receipt = await deliver(one, to=Addressees(devices=(bad.client_id, good.client_id)))
    assert [record.token for record in apns.received] == [pin(21)]
    assert receipt["skipped"] == {"dead_token": 1}
