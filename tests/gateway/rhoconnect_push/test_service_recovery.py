"""No device is locked out after a refusal, the end of its registrations, a change of user, or a switch of servers.

The devices do what the real services do (contract §9.1 and §9.2).
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.mailbox.scripts import RAISED_MAX, SKEW_S
from gateway.simulators.rhoconnect_push_device import ANDROID, WINDOWS, DeviceBehaviour, RhoConnectPushDevice
from protocols.rhoconnect_push.ids import Ids
from tests.gateway.rhoconnect_push.harness import APP, SESSION, USER, House, basic, house, old_id
from tests.support.rhoconnect_push import RhoconnectPush, rhoconnect_push

FLAVOURS = pytest.mark.parametrize("behaviour", [ANDROID, WINDOWS], ids=["android", "windows"])
HASTE = 10_000.0
ANOTHER_SECRET = b"a secret that came after the loss"


@pytest.fixture
async def service(redis_client: Redis, redis_address: str) -> AsyncIterator[House]:
    """The service, with a mailbox clock that advances by a minute at each reading."""
    minutes = itertools.count(int(time.time()), 60)
    async with house(redis_client, redis_address, clock=lambda: next(minutes)) as found:
        yield found


@pytest.fixture
async def before(service: House, redis_client: Redis) -> AsyncIterator[RhoconnectPush]:
    """A rhoconnect-push on the same Redis and with the same RhoConnect."""
    async with rhoconnect_push(redis_client, f"{service.judge.url}/rc/v1/app/rps_login") as found:
        yield found


def url_of(service: House) -> str:
    return f"http://127.0.0.1:{service.port}"


def device_at(url: str, behaviour: DeviceBehaviour) -> RhoConnectPushDevice:
    return RhoConnectPushDevice(url, USER, "pwd", SESSION, behaviour=behaviour, speed_up=HASTE)


async def post(url: str, token: str, text: str) -> int:
    headers = {"Authorization": basic(APP), "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{url}/messageQueue/{token}", data=f'{{"data":{{"alert":"{text}"}}}}') as answer,
    ):
        return answer.status


async def gets(device: RhoConnectPushDevice, url: str, text: str) -> bool:
    """Post a message, let the device poll, and return whether it receives the message."""
    assert await post(url, device.tokens[APP], text) == 204
    assert await device.poll() == 200
    return device.received[-1].data == {"alert": text}


# -- after the end of its registrations -----------------------------------------------------------------------


@FLAVOURS
@pytest.mark.parametrize("first", ["gateway", "rhoconnect-push"])
async def test_it_registers_again_with_the_same_instance_and_cookie(
    service: House, before: RhoconnectPush, behaviour: DeviceBehaviour, first: str
) -> None:
    url = url_of(service)
    async with device_at(url if first == "gateway" else before.url, behaviour) as device:
        await device.register(APP)
        device.move(url)
        own = device.instance, device.cookie
        for text in ("a", "b"):
            await device.unregister(APP)
            assert await service.redis.keys("*") == []
            assert await device.poll() == 404 or behaviour is WINDOWS
            device.instance, device.cookie = own  # an Android device polls only while it has a registration
            await device.register(APP)
            assert (device.instance, device.cookie) == own
            assert await gets(device, url, text)


@FLAVOURS
async def test_a_reset_of_rhoconnect_removes_registrations_and_locks_no_device_out(
    service: House, behaviour: DeviceBehaviour
) -> None:
    async with device_at(url_of(service), behaviour) as device:
        await device.register(APP)
        own = device.instance
        polling = asyncio.create_task(device.run())
        await service.waits()
        await service.redis.flushdb()
        service.service.polls.release()
        async with asyncio.timeout(30):
            while 404 not in device.statuses:
                await asyncio.sleep(0.01)
            if behaviour is ANDROID:
                await polling
                assert (device.instance, device.cookie, device.tokens) == ("", "", {})
                await device.register(APP)
                polling = asyncio.create_task(device.run())
            else:  # it looks up what it knows, and repeats that until the answer is 200
                await device.enrol(APP)
                assert device.instance == own
            assert await post(url_of(service), device.tokens[APP], "after") == 204
            await device.wait(1)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def test_a_windows_device_whose_registration_is_gone_gets_no_404_that_it_would_repeat(
    service: House,
) -> None:
    url = url_of(service)
    async with device_at(url, WINDOWS) as device:
        await device.register(APP)
        await service.store.forget(device.instance)
        await device.register(APP)
        assert await gets(device, url, "again")
        await service.store.forget(device.instance)
        await device.unregister(APP)
        assert device.tokens == {}


@pytest.mark.parametrize("join", ["; ", "\n"], ids=["one header", "two headers"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_registration_that_is_gone_is_404_for_all_others(
    service: House, method: str, join: str
) -> None:
    phone = await service.new_phone()
    await service.store.forget(phone.instance)
    target = f"/registrations/{phone.instance}/{USER}/{APP}"
    answer = await service.call(
        method, target, Cookie=f"instance={phone.cookie}{join}{SESSION}", Authorization=basic(USER)
    )
    assert answer.status == 404
    assert await service.rest(phone.instance) == []


# -- after the loss of the secret -----------------------------------------------------------------------------


async def test_an_id_of_a_lost_secret_is_unknown_and_an_android_device_begins_again(service: House) -> None:
    url = url_of(service)
    async with device_at(url, ANDROID) as device:
        token = await device.register(APP)
        lost = device.instance
        service.service.ids = Ids(ANOTHER_SECRET)
        assert not await device.check(APP)
        assert device.statuses_of_checks == [404]
        assert await post(url, token, "to nobody") == 404
        assert await device.poll() == 404
        assert (device.instance, device.cookie) == ("", "")
        await device.register(APP)
        assert device.instance != lost
        assert await gets(device, url, "again")


@pytest.mark.parametrize("registered", [True, False])
async def test_a_device_that_starts_after_the_loss_of_the_secret_begins_again(
    service: House, registered: bool
) -> None:
    """Without a registration it does not poll, and without a poll it does not discard its id."""
    url = url_of(service)
    async with device_at(url, ANDROID) as device:
        await device.register(APP)
        lost = device.instance
        if not registered:
            await device.unregister(APP)
        service.service.ids = Ids(ANOTHER_SECRET)
        await device.start()
        assert (device.instance, device.tokens) == (lost, {})
        await device.register(APP)
        async with asyncio.timeout(30):
            await device.run()
        assert (device.statuses, device.instance) == ([404], "")
        await device.register(APP)
        assert await gets(device, url, "again")


@pytest.mark.parametrize(("method", "status"), [("PUT", 201), ("GET", 404), ("DELETE", 404)])
async def test_an_authenticated_user_registers_with_an_id_of_a_lost_secret_and_finds_nothing_with_it(
    service: House, method: str, status: int
) -> None:
    phone = await service.new_phone()
    service.service.ids = Ids(ANOTHER_SECRET)
    assert (await service.register(phone, method=method)).status == status
    assert (await service.call("GET", phone.poll, Cookie=f"instance={phone.cookie}")).status == 404
    target = f"/registrations/{phone.instance}/{USER}/{APP}"
    stranger = await service.call(method, target, Cookie=f"instance={phone.cookie}")
    assert stranger.status == 401
    given = await service.call(
        "GET", f"/instanceId/{phone.instance}", Cookie=SESSION, Authorization=basic(USER)
    )
    assert given.status == 404


async def test_an_id_of_rhoconnect_push_does_not_depend_on_the_secret(
    service: House, before: RhoconnectPush
) -> None:
    """The cookie that the gateway created for it does not depend on the secret either."""
    async with device_at(before.url, ANDROID) as device:
        await device.register(APP)
        device.move(url_of(service))
        device.cookie = service.ids.cookie(device.instance)
        service.service.ids = Ids(ANOTHER_SECRET)
        assert await gets(device, url_of(service), "still")
        await device.unregister(APP)
        assert await device.register(APP)


# -- after a 401 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
async def test_an_old_id_with_a_wrong_cookie_is_refused(service: House, method: str) -> None:
    phone = await service.new_phone()
    phone.instance, phone.cookie = old_id("instance", USER), old_id("cookie", old_id("instance", "eve"))
    assert (await service.register(phone, method=method)).status == 401
    assert (await service.call("GET", phone.poll, Cookie=f"instance={phone.cookie}")).status == 401


@pytest.mark.parametrize(("user", "registered"), [(USER, True), (USER, False), ("eve", True)])
async def test_when_unsigned_ids_end_an_android_device_begins_again(
    redis_client: Redis, redis_address: str, user: str, registered: bool
) -> None:
    """A 401 to its poll would lock it out: it would keep the id without a cookie."""
    async with (
        house(redis_client, redis_address, weak=False) as service,
        rhoconnect_push(redis_client, f"{service.judge.url}/rc/v1/app/rps_login") as before,
        device_at(before.url, ANDROID) as device,
    ):
        await device.register(APP)
        own = device.instance
        device.change_user(user, "pwd", SESSION)
        await device.register(APP)
        if not registered:
            await device.unregister(APP)
        device.move(url_of(service))
        await device.start()
        if not registered:
            await device.register(APP)
        assert await device.poll() == 404, "anybody could have made this cookie"
        assert (device.instance, device.cookie, device.tokens) == ("", "", {})
        await device.register(APP)
        assert device.instance != own
        assert await gets(device, url_of(service), "again")


async def test_an_unsigned_cookie_gives_another_user_no_access(
    redis_client: Redis, redis_address: str
) -> None:
    """This holds for a signed instance and, once unsigned ids end, for an instance of rhoconnect-push."""
    async with house(redis_client, redis_address, weak=False) as service:
        phone = await service.new_phone()
        for instance in (phone.instance, old_id("instance", USER)):
            phone.instance, phone.cookie = instance, old_id("cookie", instance)
            for method in ("PUT", "GET", "DELETE"):
                assert (await service.register(phone, method=method, user="eve")).status == 401
            poll = await service.call("GET", phone.poll, Cookie=f"instance={phone.cookie}")
            assert poll.status == (404 if instance == old_id("instance", USER) else 401)
            credentials = {"Cookie": SESSION, "Authorization": basic("eve")}
            assert (await service.call("GET", f"/instanceId/{instance}", **credentials)).status == 404


# -- after a change of user -----------------------------------------------------------------------------------


@FLAVOURS
@pytest.mark.parametrize("first", ["gateway", "rhoconnect-push"])
@pytest.mark.parametrize("ended", [True, False])
async def test_another_user_registers_on_the_same_device(
    service: House, before: RhoconnectPush, behaviour: DeviceBehaviour, first: str, ended: bool
) -> None:
    url = url_of(service)
    async with device_at(url if first == "gateway" else before.url, behaviour) as device:
        token = await device.register(APP)
        device.move(url)
        own = device.instance
        if ended:
            await device.unregister(APP)
        device.change_user("eve", "pw", SESSION)
        assert await device.register(APP) != token
        assert device.instance == own
        assert await gets(device, url, "for eve")


# -- a switch there and back ----------------------------------------------------------------------------------


@FLAVOURS
@pytest.mark.parametrize("first", ["gateway", "rhoconnect-push"])
async def test_a_device_survives_switches_in_both_directions(
    service: House, before: RhoconnectPush, behaviour: DeviceBehaviour, first: str
) -> None:
    """The device polls, unregisters and registers again at each server with the ids of the other server."""
    urls = [url_of(service), before.url]
    if first != "gateway":
        urls.reverse()
    async with device_at(urls[0], behaviour) as device:
        token = await device.register(APP)
        own = device.instance
        for number in range(4):
            url = urls[(number + 1) % 2]
            device.move(url)
            await device.start()
            assert device.tokens == {APP: token}
            assert await gets(device, url, f"message {number}")
            await device.unregister(APP)
            token = await device.register(APP)
            assert device.instance == own
        assert 401 not in device.statuses


async def test_either_server_gives_a_cookie_for_an_instance_of_the_other(
    service: House, before: RhoconnectPush
) -> None:
    async with device_at(url_of(service), ANDROID) as device:
        await device.register(APP)
        for url in (before.url, url_of(service), before.url, url_of(service)):
            device.move(url)
            await device.fetch_cookie()
            assert await gets(device, url, "here")
        device.move(before.url)
        await device.fetch_cookie()
        device.move(url_of(service))
        assert await device.poll() == 401, "a signed instance takes no cookie that anybody could have made"


# -- messages after a new registration ------------------------------------------------------------------------

BURST = 20


@pytest.fixture
async def at_once(redis_client: Redis, redis_address: str) -> AsyncIterator[House]:
    """The service, with a mailbox clock that stands still."""
    now_s = int(time.time())
    async with house(redis_client, redis_address, clock=lambda: now_s) as found:
        yield found


async def polls_without_message(device: RhoConnectPushDevice, service: House) -> bool:
    """Let the device poll, end the poll once the store has replied, and return whether the answer was 204."""
    poll = asyncio.ensure_future(device.poll())
    await service.waits()
    service.service.polls.release()
    return await poll == 204


async def takes(device: RhoConnectPushDevice, url: str, texts: list[str]) -> None:
    """Post all texts, then let the device poll until it has received them."""
    had = len(device.received)
    for text in texts:
        assert await post(url, device.tokens[APP], text) == 204
    for _ in texts:
        assert await device.poll() == 200
    assert [received.data["alert"] for received in device.received[had:]] == texts


@FLAVOURS
@pytest.mark.parametrize("how", ["unregister", "forget"])
async def test_messages_after_a_new_registration_of_the_same_second_are_not_lost(
    at_once: House, behaviour: DeviceBehaviour, how: str
) -> None:
    """The device received more messages than seconds passed, so its last id is ahead of the clock."""
    url = url_of(at_once)
    async with device_at(url, behaviour) as device:
        for turn in range(3):
            await device.register(APP)
            await takes(device, url, [f"{turn} {number}" for number in range(BURST)])
            last = device.last
            if how == "unregister":
                await device.unregister(APP)
            else:
                assert await at_once.store.forget(device.instance)
                device.tokens.clear()
            device.last = last  # the real services forget it with their last registration
            assert await at_once.redis.keys("que:*") == []


async def test_the_end_keeps_a_counter_until_the_clock_has_passed_it(at_once: House) -> None:
    async with device_at(url_of(at_once), ANDROID) as device:
        await device.register(APP)
        await takes(device, url_of(at_once), [str(number) for number in range(BURST)])
        await device.unregister(APP)
        assert await at_once.redis.keys("*") == [f"cnt:{device.instance}".encode()]
        left_s = await at_once.redis.ttl(f"cnt:{device.instance}")
        assert 0 < left_s <= BURST + SKEW_S


@FLAVOURS
async def test_messages_after_a_lost_counter_are_not_lost(at_once: House, behaviour: DeviceBehaviour) -> None:
    """RhoConnect's reset empties Redis, and the device polls once before the next message."""
    url = url_of(at_once)
    async with device_at(url, behaviour) as device:
        await device.register(APP)
        await takes(device, url, [f"a {number}" for number in range(BURST)])
        await at_once.redis.flushdb()
        device.instance = device.cookie = ""  # a new instance, and the last id of the old one
        device.tokens.clear()
        await device.register(APP)
        assert await polls_without_message(device, at_once)
        await takes(device, url, [f"b {number}" for number in range(BURST + 5)])


async def test_a_poll_does_not_raise_ids_above_what_a_device_can_hold(at_once: House) -> None:
    url = url_of(at_once)
    async with device_at(url, WINDOWS) as device:
        await device.register(APP)
        device.last = 2**31 - 1
        assert await polls_without_message(device, at_once)
        assert await gets(device, url, "an id of 31 bits")
        assert device.last < RAISED_MAX
