"""The behaviour of real devices (contract §9.1), from registration to unregistration, with a complete gateway."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from gateway.rhoconnect_push import PushTimeouts
from gateway.simulators.rhoconnect_push_device import (
    ANDROID,
    WINDOWS,
    DeviceBehaviour,
    RegistrationRefused,
    RhoConnectPushDevice,
)
from tests.conftest import StartGateway
from tests.gateway.rhoconnect_push.harness import APP, SESSION, USER, House, basic, house
from tests.support import rhoconnect
from tests.support.gateway import Gateway
from tests.support.ports import free_port
from tests.support.redis import KINDS, RedisServer, store_client

HASTE = 100.0
SHARED = pytest.mark.asyncio(loop_scope="module")
FLAVOURS = pytest.mark.parametrize("behaviour", [ANDROID, WINDOWS], ids=["android", "windows"])


@contextlib.asynccontextmanager
async def switched_on(device: RhoConnectPushDevice) -> AsyncIterator[asyncio.Task[None]]:
    """Let a device poll."""
    task = asyncio.create_task(device.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def device_of(service: House, behaviour: DeviceBehaviour, password: str = "pwd") -> RhoConnectPushDevice:
    url = f"http://127.0.0.1:{service.port}"
    return RhoConnectPushDevice(url, USER, password, SESSION, behaviour=behaviour, speed_up=HASTE)


@FLAVOURS
async def test_a_device_registers_polls_acknowledges_and_unregisters(
    service: House, behaviour: DeviceBehaviour
) -> None:
    async with device_of(service, behaviour) as device:
        token = await device.register(APP)
        assert await device.check(APP)
        async with switched_on(device) as polling:
            await service.waits()
            for text in ("a", "b"):
                await service.post(token, {"data": {"alert": text, "do_sync": ["Product"]}})
            got = await device.wait(2)
            assert [(found.app, found.data["alert"]) for found in got] == [(APP, "a"), (APP, "b")]
            await service.waits()
            assert await service.queued(device.instance) == []
            await device.unregister(APP)
            async with asyncio.timeout(30):
                await polling
        assert device.statuses == [200, 200, 410]
        assert await service.rest(device.instance) == []


@FLAVOURS
async def test_a_device_polls_again_after_the_end_of_a_wait(
    redis_client: Redis, redis_address: str, behaviour: DeviceBehaviour
) -> None:
    times = PushTimeouts(wait_s=1.0)
    async with (
        house(redis_client, redis_address, times=times) as service,
        device_of(service, behaviour) as device,
    ):
        token = await device.register(APP)
        async with switched_on(device):
            async with asyncio.timeout(30):
                while device.statuses != [204]:
                    await asyncio.sleep(0.01)
            await service.post(token, {"data": {"alert": "after"}})
            [found] = await device.wait(1)
    assert found.data == {"alert": "after"}
    assert found.message_id < WINDOWS.id_max


async def test_an_android_device_discards_an_id_that_the_service_does_not_accept(service: House) -> None:
    async with device_of(service, ANDROID) as device:
        await device.register(APP)
        await service.store.forget(device.instance)
        async with switched_on(device) as polling, asyncio.timeout(30):
            await polling
        assert (device.statuses, device.tokens, device.instance) == ([404], {}, "")
        assert await device.register(APP)


async def test_a_windows_device_repeats_until_the_service_accepts_it(service: House) -> None:
    async with device_of(service, WINDOWS) as device:
        token = await device.register(APP)
        member = (await service.redis.smembers(f"reg:{device.instance}")).pop()
        await service.store.forget(device.instance)
        assert await device.poll() == 404
        await service.redis.sadd(f"reg:{device.instance}", member)
        await service.redis.set(f"tok:{token}", device.instance)
        async with switched_on(device):
            await service.waits()


async def test_a_device_without_a_valid_user_cannot_register(service: House) -> None:
    url = f"http://127.0.0.1:{service.port}"
    async with RhoConnectPushDevice(url, USER, "pwd", "rhoconnect_session=none") as device:
        with pytest.raises(RegistrationRefused, match="UNAUTHORIZED"):
            await device.register(APP)


# -- a whole gateway -------------------------------------------------------------------------------------------


async def log_in(gateway: Gateway, login: str, password: str) -> str:
    """Log the user in and return the cookie of the session."""
    async with (
        aiohttp.ClientSession(gateway.url) as session,
        session.post("/rc/v1/app/login", json={"login": login, "password": password}) as answer,
    ):
        assert answer.status == 200
        return f"rhoconnect_session={answer.cookies['rhoconnect_session'].value}"


async def owner_of(
    gateway: Gateway, redis: Redis, behaviour: DeviceBehaviour = ANDROID, login: str = "bob"
) -> RhoConnectPushDevice:
    """A user of the gateway's own accounts, with a device."""
    await rhoconnect.lay_user(redis, login, [], password="pw")
    session = await log_in(gateway, login, "pw")
    return RhoConnectPushDevice(
        gateway.rhoconnect_push_url, login, "pw", session, behaviour=behaviour, speed_up=HASTE
    )


class Site(NamedTuple):
    """A gateway with two workers that several tests share, each with users of its own."""

    gateway: Gateway
    redis: Redis


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    with RedisServer(request.param) as server:
        app = {"redis": server.address, "push_server": "http://someapp:secret@localhost:8675/"}
        async with (
            store_client(server.socket) as redis,
            Gateway(tmp_path_factory.mktemp("g"), app=app, workers=2) as gateway,
        ):
            yield Site(gateway, redis)


async def finished(gateway: Gateway, ping_id: str) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            answer = await gateway.request("GET", f"/rc/v1/pings/{ping_id}")
            report: dict[str, Any] = answer.json() if answer.status == 200 else {}
            if report.get("state") == "done":
                return report
            await asyncio.sleep(0.02)


@SHARED
@FLAVOURS
async def test_a_ping_reaches_a_device_without_a_hop(
    site: Site, request: pytest.FixtureRequest, behaviour: DeviceBehaviour
) -> None:
    gateway, redis = site
    login = request.node.callspec.id
    async with await owner_of(gateway, redis, behaviour, login) as device:
        token = await device.register("someapp")
        await rhoconnect.lay_user(redis, login, [rhoconnect.rhoconnect_push_client(token)], password="pw")
        async with switched_on(device):
            # Enough for each worker's poll to receive a message that another worker queued.
            for number in range(10):
                answer = await gateway.ping(
                    login, message=f"hello {number}", badge=3, vibrate=2000, sources="A"
                )
                assert answer.status == 200
                got = await device.wait(number + 1)
                assert got[-1].data == {"alert": f"hello {number}", "vibrate": "2000", "do_sync": ["A"]}
        report = await finished(gateway, answer.ping_id)
    assert report["counts"] == {"accepted": 1, "rejected": 0, "later": 0}
    assert report["devices"][0]["provider"] == "rhoconnect_push"


@SHARED
async def test_an_ended_registration_is_rejected_and_not_retried(site: Site) -> None:
    gateway, redis = site
    await rhoconnect.lay_user(redis, "eve", [rhoconnect.rhoconnect_push_client("no:token")])
    answer = await gateway.ping("eve", message="hello")
    report = await finished(gateway, answer.ping_id)
    [device] = report["devices"]
    assert (device["verdict"], device["reason"]) == ("rejected", "NotRegistered")
    assert not await redis.keys("rhopush:dead:*"), "the device may register again with its token"


@SHARED
async def test_the_apps_of_push_server_may_post(site: Site) -> None:
    gateway, redis = site
    async with await owner_of(gateway, redis, login="ann") as device:
        token = await device.register("someapp")
        statuses = []
        async with aiohttp.ClientSession(gateway.rhoconnect_push_url) as session:
            for login in (("someapp", "secret"), ("someapp", "wrong"), ("other", "secret")):
                answer = await session.post(
                    f"/messageQueue/{token}",
                    data=b'{"data":{}}',
                    headers={"Content-Type": "application/json", "Authorization": basic(*login)},
                )
                statuses.append(answer.status)
        assert statuses == [204, 401, 401]


async def test_kill_9_loses_no_message_and_repeats_none_that_was_acknowledged(
    start_gateway: StartGateway, redis_client: Redis, redis_address: str
) -> None:
    gateway = await start_gateway({"rhoconnect_push": {"port": free_port()}}, app={"redis": redis_address})
    async with await owner_of(gateway, redis_client) as device:
        token = await device.register("someapp")
        await rhoconnect.lay_user(
            redis_client, "bob", [rhoconnect.rhoconnect_push_client(token)], password="pw"
        )
        for number in range(20):
            assert (await gateway.ping("bob", message=str(number))).status == 200
        async with switched_on(device):
            await device.wait(7)
            gateway.kill_all()
            await gateway.wait()
            known = len(device.received)
            await gateway.start()
            for number in range(20, 30):
                assert (await gateway.ping("bob", message=str(number))).status == 200
            await device.wait(30, timeout_s=30.0)
            async with asyncio.timeout(30):
                while await redis_client.zcard(f"que:{device.instance}"):
                    await asyncio.sleep(0.02)
        got = [found.data["alert"] for found in device.received]
        ids = [found.message_id for found in device.received]
    assert 7 <= known < 30
    assert sorted(got, key=int) == [str(number) for number in range(30)], "all, and none twice"
    assert ids == sorted(set(ids))


async def test_as_a_client_the_gateway_posts_to_the_outside_service(
    start_gateway: StartGateway, redis_client: Redis, redis_address: str
) -> None:
    """The service's answers become verdicts; RhoConnect treated every answer but 400 as success."""
    async with house(redis_client, redis_address) as outside:
        server = f"http://{APP}:pwd@127.0.0.1:{outside.port}/any/path"
        gateway = await start_gateway(
            {"rhoconnect_push": {"mode": "client"}}, app={"redis": redis_address, "push_server": server}
        )
        async with device_of(outside, ANDROID) as device:
            token = await device.register(APP)
            devices = [
                rhoconnect.rhoconnect_push_client(token),
                rhoconnect.rhoconnect_push_client("a/b c?d:e"),
            ]
            await rhoconnect.lay_user(redis_client, "bob", devices)
            async with switched_on(device):
                answer = await gateway.ping("bob", message="hello", badge=3)
                [found] = await device.wait(1)
            assert found.data == {"alert": "hello"}
            report = await asyncio.wait_for(partly(gateway, answer.ping_id), 30)
        verdicts = sorted(device["verdict"] for device in report["devices"])
    assert verdicts == ["accepted", "later"], json.dumps(report)


async def partly(gateway: Gateway, ping_id: str) -> dict[str, Any]:
    """Wait for the report with all pinged devices."""
    while True:
        report: dict[str, Any] = (await gateway.request("GET", f"/rc/v1/pings/{ping_id}")).json()
        if len(report.get("devices", ())) == 2:
            return report
        await asyncio.sleep(0.02)
