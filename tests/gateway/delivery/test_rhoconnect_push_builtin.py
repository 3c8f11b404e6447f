"""Both ways to legacy devices: into the built-in service, and over HTTP to an outside one."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.delivery.batch import Send, Unit
from gateway.delivery.dead_tokens import NoMarks
from gateway.delivery.lane import Outlet
from gateway.delivery.providers import PROVIDERS
from gateway.delivery.rhoconnect_push_builtin import RpsLane
from gateway.delivery.rhoconnect_push_remote import RpsClientLane, read_push_server
from gateway.delivery.route import Place, Route, place
from gateway.errors import BadSetting
from gateway.mailbox.store import RpsStore
from gateway.metrics import Metrics
from gateway.queue.entries import Lease
from gateway.settings import RetrySettings, Secret
from gateway.store import keys
from gateway.store.address import Address
from protocols.devices import RPS, Device
from protocols.ping.model import Ping
from protocols.rhoconnect_push.message import Target
from protocols.verdict import Kind, Verdict
from tests.support.ports import free_port
from tests.support.redis import RedisServer

PING_ID = "0" * 31 + "1"
NOW_MS = 1_700_000_000_000
INSTANCE = "an-instance:of-mine"


class Batch:
    """A unit with one ping and a send for each pin, and when it was settled."""

    def __init__(self, *pins: str, ttl_s: int = 10**9, **ping: object) -> None:
        said: dict[str, Any] = {"message": "hello", **ping}
        self.ping = Ping(id=PING_ID, accepted_ms=NOW_MS, ttl_s=ttl_s, **said)
        message = PROVIDERS[RPS].compose(self.ping, Target(), NOW_MS)
        assert message is not None
        self.settled = asyncio.Event()
        lease = Lease(keys.PINGS, "1-0", b"", 1, 1, again=False)
        self.unit = Unit(lease, PING_ID[:28], (self.ping,), lambda _: self.settled.set())
        self.unit.begin_ping({})
        self.sends = []
        self.route = Route(cast(Outlet, None), Target(), "")
        for number, pin in enumerate(pins):
            device = Device(f"{number:032x}", "ANDROID", "rhoconnect_push", pin)
            number_of = self.unit.add_place(device.client_id, RPS)
            self.sends.append(Send(self.unit, number_of, device, self.route, message, message.path(pin), b""))
        self.unit.planned()

    async def through(self, lane: Outlet) -> dict[int, tuple[Kind, str]]:
        """Offer all and wait; what was not simply accepted, by place."""
        self.route.lane, self.route.place = lane, place(lane.name, "", (lane.name, 0), "", "credential")
        lane.offer(self.sends, bulk=False)
        async with asyncio.timeout(30):
            await self.settled.wait()
        return dict(self.unit.rest)


async def lay(redis: Redis, token: str, instance: str = INSTANCE) -> None:
    await redis.sadd(f"reg:{instance}", json.dumps({"token": token, "appname": "app"}, separators=(",", ":")))
    await redis.set(f"tok:{token}", instance)
    await redis.set(f"cnt:{instance}", 7)


async def queued(redis: Redis, instance: str = INSTANCE) -> list[dict[str, object]]:
    return [json.loads(text) for text in await redis.zrange(f"que:{instance}", 0, -1)]


@pytest.fixture
async def store(redis_address: str) -> AsyncIterator[RpsStore]:
    made = RpsStore(Address.parse(redis_address))
    await made.open()
    yield made
    await made.close()


# -- built in --------------------------------------------------------------------------------------------------


async def test_accepted_means_queued_and_an_unknown_token_is_rejected_for_good(
    store: RpsStore, redis_client: Redis
) -> None:
    await lay(redis_client, "tok-1")
    lane = RpsLane(store, RetrySettings(), Metrics())
    rest = await Batch("tok-1", "tok-2", badge=3, vibrate=2000).through(lane)
    assert rest == {1: (Kind.REJECTED, "NotRegistered")}
    data = {"alert": "hello", "vibrate": "2000"}
    assert await queued(redis_client) == [{"id": 8, "token": "tok-1", "data": data}]
    assert await redis_client.zrange(f"col:{INSTANCE}", 0, -1) == [b"3:app"]
    assert (lane.in_flight, lane.backlog, lane.trouble) == (0, 0, None)


async def test_a_send_that_is_repeated_is_queued_once(store: RpsStore, redis_client: Redis) -> None:
    await lay(redis_client, "tok-1")
    lane = RpsLane(store, RetrySettings(), Metrics())
    for _ in range(2):
        assert await Batch("tok-1").through(lane) == {}
    assert len(await queued(redis_client)) == 1


async def test_two_apps_on_one_phone_both_get_the_ping(store: RpsStore, redis_client: Redis) -> None:
    await lay(redis_client, "tok-1")
    await redis_client.sadd(f"reg:{INSTANCE}", '{"token":"tok-2","appname":"other"}')
    await redis_client.set("tok:tok-2", INSTANCE)
    assert await Batch("tok-1", "tok-2").through(RpsLane(store, RetrySettings(), Metrics())) == {}
    assert [message["token"] for message in await queued(redis_client)] == ["tok-1", "tok-2"]


async def test_a_ping_whose_time_is_over_is_not_queued(store: RpsStore, redis_client: Redis) -> None:
    await lay(redis_client, "tok-1")
    rest = await Batch("tok-1", ttl_s=1).through(RpsLane(store, RetrySettings(), Metrics()))
    assert rest == {0: (Kind.REJECTED, "expired")}
    assert await queued(redis_client) == []


async def test_more_than_a_batch_keeps_its_order(store: RpsStore, redis_client: Redis) -> None:
    pins = [f"tok-{number}" for number in range(450)]
    for pin in pins:
        await lay(redis_client, pin, f"instance-{pin}")
    batch = Batch(*pins)
    assert await batch.through(RpsLane(store, RetrySettings(), Metrics())) == {}
    assert [len(await queued(redis_client, f"instance-{pin}")) for pin in pins] == [1] * 450


async def test_a_lost_connection_loses_and_doubles_nothing(store: RpsStore, redis_client: Redis) -> None:
    pins = [f"tok-{number}" for number in range(400)]
    for pin in pins:
        await lay(redis_client, pin, f"instance-{pin}")
    batch = Batch(*pins)
    lane = RpsLane(store, RetrySettings(), Metrics())
    lane.offer(batch.sends, bulk=False)
    await redis_client.client_kill_filter(_type="normal", skipme=True)
    async with asyncio.timeout(30):
        while not batch.settled.is_set():
            lane.sweep()
            await asyncio.sleep(0.02)
    assert batch.unit.rest == {}
    assert [len(await queued(redis_client, f"instance-{pin}")) for pin in pins] == [1] * 400


async def test_without_redis_sends_are_parked() -> None:
    with RedisServer("valkey") as server:
        store = RpsStore(Address.parse(server.address))
        await store.open()
        server.kill()
        async with asyncio.timeout(30):
            while store.up:
                await asyncio.sleep(0.01)
        lane = RpsLane(store, RetrySettings(), Metrics())
        batch = Batch("tok-1")
        lane.offer(batch.sends, bulk=True)
        assert (lane.trouble, lane.backlog) == ("Redis does not answer", 1)
        async with asyncio.timeout(30):
            while not batch.settled.is_set():
                lane.sweep()
                await asyncio.sleep(0.05)
        assert (batch.unit.postponed[0].parked_in, lane.parked_total) == ("rps", 1)
        await lane.close(1.0)
        await store.close()


# -- an outside service ----------------------------------------------------------------------------------------


class Outside:
    """A push service that answers as it is told, by the token in the path."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        kept = {name: request.headers.get(name, "") for name in ("Content-Type", "Authorization")}
        self.requests.append((request.raw_path, kept, await request.read()))
        status = request.match_info["token"].rpartition("-")[2]
        headers = {"Retry-After": "40"} if status == "503" else {}
        return web.Response(status=int(status) if status.isdecimal() else 204, headers=headers)


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    service = Outside()
    app = web.Application()
    app.router.add_post("/messageQueue/{token}", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.port = runner.addresses[0][1]
    yield service
    await runner.cleanup()


def client_lane(port: int, dead: list[str] | None = None) -> RpsClientLane:
    class Heard(NoMarks):
        def heard(self, send: Send, verdict: Verdict, place: Place, others: tuple[str, ...] = ()) -> None:
            if dead is not None:
                dead.append(send.device.pin)

    url = Secret(f"http://some%40app:pw@127.0.0.1:{port}/lost/path")
    return RpsClientLane(url, RetrySettings(), Metrics(), Heard())


async def test_the_request_is_rhoconnects(outside: Outside) -> None:
    lane = client_lane(outside.port)
    batch = Batch("uuid:0a", "a/b c?d%2F", badge=5, sound="s", vibrate=10, sources=("A", "B"))
    assert await batch.through(lane) == {}
    await lane.close(1.0)
    paths = sorted(path for path, _, _ in outside.requests)
    assert paths == ["/messageQueue/a%2Fb%20c%3Fd%252F", "/messageQueue/uuid:0a"]
    _, headers, body = outside.requests[0]
    assert headers == {"Content-Type": "application/json", "Authorization": "Basic c29tZUBhcHA6cHc="}
    assert body == (
        b'{"collapseId":5,"data":{"alert":"hello","sound":"s","vibrate":"10","do_sync":["A","B"]}}'
    )


@pytest.mark.parametrize(
    ("status", "fate", "dead"),
    [
        (200, None, False),
        (204, None, False),
        (400, (Kind.REJECTED, "InvalidRequest"), False),
        (401, (Kind.LATER, "Unauthorized"), False),
        (403, (Kind.REJECTED, "Forbidden"), False),
        (404, (Kind.REJECTED, "NotRegistered"), True),
        (410, (Kind.REJECTED, "NotRegistered"), True),
        (413, (Kind.REJECTED, "PayloadTooLarge"), False),
        (500, (Kind.LATER, "HTTP 500"), False),
        (503, (Kind.LATER, "HTTP 503"), False),
    ],
)
async def test_every_answer_is_a_verdict(
    outside: Outside, status: int, fate: tuple[Kind, str] | None, dead: bool
) -> None:
    buried: list[str] = []
    lane = client_lane(outside.port, buried)
    batch = Batch(f"tok-{status}")
    assert await batch.through(lane) == ({} if fate is None else {0: fate})
    assert buried == ([f"tok-{status}"] if dead else [])
    assert (0 in batch.unit.postponed) is (fate is not None and fate[0] is Kind.LATER)
    await lane.close(1.0)


async def test_a_server_that_cannot_be_reached_is_trouble_and_sends_are_parked() -> None:
    lane = client_lane(free_port())
    batch = Batch("tok-1", "tok-2")
    lane.offer(batch.sends, bulk=False)
    async with asyncio.timeout(30):
        while not batch.settled.is_set():
            lane.sweep()
            await asyncio.sleep(0.05)
    assert lane.trouble is not None
    assert lane._metrics.registry.get_sample_value("rhopush_lane_down", {"lane": lane.name}) == 1
    assert {later.parked_in for later in batch.unit.postponed.values()} == {lane.name}
    await lane.close(1.0)


@pytest.mark.parametrize("url", ["localhost:8675", "ftp://h/", "http://", "http://h:port/"])
def test_a_push_server_must_be_a_url(url: str) -> None:
    with pytest.raises(BadSetting, match="push_server"):
        read_push_server(Secret(url))


def test_the_credentials_of_a_push_server_are_not_in_the_lanes_name() -> None:
    origin, authorization = read_push_server(Secret("https://app@[::1]:8675/x"))
    assert (origin, authorization) == ("https://[::1]:8675", "Basic YXBwOg==")
