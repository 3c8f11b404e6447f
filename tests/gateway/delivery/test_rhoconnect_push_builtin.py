"""Both ways to RhoConnect Push devices: into the built-in service, and over HTTP to an outside one."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.delivery.batch import Delivery, DeliveryBatch
from gateway.delivery.lane import Lane
from gateway.delivery.providers.rhoconnect_push import PROVIDER
from gateway.delivery.rhoconnect_push_builtin import BuiltinRhoConnectPushLane
from gateway.delivery.route import Route, token_scope
from gateway.mailbox.store import MailboxStore
from gateway.metrics import Metrics
from gateway.queue.entries import Lease
from gateway.settings import RetrySettings
from gateway.store import keys
from gateway.store.address import RedisAddress
from protocols.devices import RHOCONNECT_PUSH, Device
from protocols.ping.model import Ping
from protocols.rhoconnect_push.message import RhoConnectPushTarget
from protocols.verdict import VerdictKind
from tests.support.redis import RedisServer


def lane_gauge(lane: Lane, name: str) -> float | None:
    """What the lane exports."""
    found: float | None = lane._metrics.registry.get_sample_value(f"rhopush_lane_{name}", {"lane": lane.name})
    return found


PING_ID = "0" * 31 + "1"
NOW_MS = 1_700_000_000_000
INSTANCE = "an-instance:of-mine"


class Batch:
    """A unit with one ping and a send for each pin, and when it was settled."""

    def __init__(self, *pins: str, ttl_s: int = 10**9, **ping: object) -> None:
        said: dict[str, Any] = {"message": "hello", **ping}
        self.ping = Ping(id=PING_ID, accepted_ms=NOW_MS, ttl_s=ttl_s, **said)
        message = PROVIDER.compose(self.ping, RhoConnectPushTarget(), NOW_MS)
        assert message is not None
        self.settled = asyncio.Event()
        lease = Lease(keys.PINGS, "1-0", b"", 1, 1, redelivered=False)
        self.batch = DeliveryBatch(lease, PING_ID[:28], (self.ping,), lambda _: self.settled.set())
        self.batch.begin_ping({})
        self.deliveries = []
        self.route = Route(cast(Lane, None), RhoConnectPushTarget(), "")
        for number, pin in enumerate(pins):
            device = Device(f"{number:032x}", "ANDROID", "rhoconnect_push", pin)
            number_of = self.batch.add_delivery(device.client_id, RHOCONNECT_PUSH)
            self.deliveries.append(
                Delivery(self.batch, number_of, device, self.route, message, message.path(pin), b"")
            )
        self.batch.finish_planning()

    async def through(self, lane: Lane) -> dict[int, tuple[VerdictKind, str]]:
        """Offer all and wait; what was not simply accepted, by place."""
        self.route.lane, self.route.token_scope = (
            lane,
            token_scope(lane.name, "", lane.name, "", "credential"),
        )
        lane.offer(self.deliveries, bulk=False)
        async with asyncio.timeout(30):
            await self.settled.wait()
        return dict(self.batch.other_verdicts)


async def lay(redis: Redis, token: str, instance: str = INSTANCE) -> None:
    await redis.sadd(f"reg:{instance}", json.dumps({"token": token, "appname": "app"}, separators=(",", ":")))
    await redis.set(f"tok:{token}", instance)
    await redis.set(f"cnt:{instance}", 7)


async def queued(redis: Redis, instance: str = INSTANCE) -> list[dict[str, object]]:
    return [json.loads(text) for text in await redis.zrange(f"que:{instance}", 0, -1)]


@pytest.fixture
async def store(redis_address: str) -> AsyncIterator[MailboxStore]:
    made = MailboxStore(RedisAddress.parse(redis_address))
    await made.open()
    yield made
    await made.close()


# -- built in --------------------------------------------------------------------------------------------------


async def test_accepted_means_queued_and_an_unknown_token_is_rejected_for_good(
    store: MailboxStore, redis_client: Redis
) -> None:
    await lay(redis_client, "tok-1")
    lane = BuiltinRhoConnectPushLane(PROVIDER, store, RetrySettings(), Metrics())
    other_verdicts = await Batch("tok-1", "tok-2", badge=3, vibrate=2000).through(lane)
    assert other_verdicts == {1: (VerdictKind.REJECTED, "NotRegistered")}
    data = {"alert": "hello", "vibrate": "2000"}
    assert await queued(redis_client) == [{"id": 8, "token": "tok-1", "data": data}]
    assert await redis_client.zrange(f"col:{INSTANCE}", 0, -1) == [
        b"3:app",
        b"~00000000000000000000000000000001:app",
    ]
    assert (lane.in_flight, lane.backlog, lane.error_text) == (0, 0, None)


async def test_a_send_that_is_repeated_is_queued_once(store: MailboxStore, redis_client: Redis) -> None:
    await lay(redis_client, "tok-1")
    lane = BuiltinRhoConnectPushLane(PROVIDER, store, RetrySettings(), Metrics())
    for _ in range(2):
        assert await Batch("tok-1").through(lane) == {}
    assert len(await queued(redis_client)) == 1


async def test_two_apps_on_one_phone_both_get_the_ping(store: MailboxStore, redis_client: Redis) -> None:
    await lay(redis_client, "tok-1")
    await redis_client.sadd(f"reg:{INSTANCE}", '{"token":"tok-2","appname":"other"}')
    await redis_client.set("tok:tok-2", INSTANCE)
    assert (
        await Batch("tok-1", "tok-2").through(
            BuiltinRhoConnectPushLane(PROVIDER, store, RetrySettings(), Metrics())
        )
        == {}
    )
    assert [message["token"] for message in await queued(redis_client)] == ["tok-1", "tok-2"]


async def test_a_ping_whose_time_is_over_is_not_queued(store: MailboxStore, redis_client: Redis) -> None:
    await lay(redis_client, "tok-1")
    other_verdicts = await Batch("tok-1", ttl_s=1).through(
        BuiltinRhoConnectPushLane(PROVIDER, store, RetrySettings(), Metrics())
    )
    assert other_verdicts == {0: (VerdictKind.REJECTED, "expired")}
    assert await queued(redis_client) == []


async def test_more_than_a_batch_keeps_its_order(store: MailboxStore, redis_client: Redis) -> None:
    pins = [f"tok-{number}" for number in range(450)]
    for pin in pins:
        await lay(redis_client, pin, f"instance-{pin}")
    batch = Batch(*pins)
    assert await batch.through(BuiltinRhoConnectPushLane(PROVIDER, store, RetrySettings(), Metrics())) == {}
    assert [len(await queued(redis_client, f"instance-{pin}")) for pin in pins] == [1] * 450


async def test_a_lost_connection_loses_and_doubles_nothing(store: MailboxStore, redis_client: Redis) -> None:
    pins = [f"tok-{number}" for number in range(400)]
    for pin in pins:
        await lay(redis_client, pin, f"instance-{pin}")
    batch = Batch(*pins)
    lane = BuiltinRhoConnectPushLane(PROVIDER, store, RetrySettings(), Metrics())
    lane.offer(batch.deliveries, bulk=False)
    await redis_client.client_kill_filter(_type="normal", skipme=True)
    async with asyncio.timeout(30):
        while not batch.settled.is_set():
            lane.sweep()
            await asyncio.sleep(0.02)
    assert batch.batch.other_verdicts == {}
    assert [len(await queued(redis_client, f"instance-{pin}")) for pin in pins] == [1] * 400


async def test_without_redis_sends_are_parked() -> None:
    with RedisServer("valkey") as server:
        store = MailboxStore(RedisAddress.parse(server.address))
        await store.open()
        server.kill()
        async with asyncio.timeout(30):
            while store.up:
                await asyncio.sleep(0.01)
        lane = BuiltinRhoConnectPushLane(PROVIDER, store, RetrySettings(), Metrics())
        batch = Batch("tok-1")
        with capture_logs() as logs:
            lane.offer(batch.deliveries, bulk=True)
            lane.sweep()
        assert [(line["event"], line["lane"]) for line in logs] == [("lane_down", "rhoconnect_push")]
        assert lane_gauge(lane, "down") == 1
        assert (lane.error_text, lane.backlog) == ("Redis does not answer", 1)
        async with asyncio.timeout(30):
            while not batch.settled.is_set():
                lane.sweep()
                await asyncio.sleep(0.05)
        assert (batch.batch.postponed[0].parked_in, lane.parked_total) == ("rhoconnect_push", 1)
        server.start()
        with capture_logs() as logs:
            async with asyncio.timeout(30):
                while lane_gauge(lane, "down"):  # though nothing more is offered
                    await asyncio.sleep(0.01)
                    lane.sweep()
        assert "lane_up" in [line["event"] for line in logs]
        assert lane.error_text is None
        await lane.close(1.0)
        await store.close()


# -- an outside service ----------------------------------------------------------------------------------------
