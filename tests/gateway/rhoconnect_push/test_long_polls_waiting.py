"""Waiting polls, and defects of rhoconnect-push that the service does not copy."""

import asyncio
import json
import time

import pytest
from redis.asyncio import Redis

from gateway.mailbox.store import MailboxLimits
from gateway.rhoconnect_push import PushTimeouts
from tests.gateway.rhoconnect_push.harness import APP, House, Phone, Wire, basic, house, old_id


def ask(wire: Wire, phone: Phone, last: int | None = None) -> None:
    query = "" if last is None else f"?lastMessage={last}"
    wire.send("GET", phone.poll + query, Cookie=f"instance={phone.cookie}")


async def posted(service: House, phone: Phone, text: str, **more: object) -> None:
    answer = await service.post(phone.token, {**more, "data": {"alert": text}})
    assert answer.status == 204


# -- waking --------------------------------------------------------------------------------------------------


async def test_a_waiting_poll_gets_the_message_at_once_and_the_connection_stays(service: House) -> None:
    phone = await service.new_phone()
    async with service.wire() as wire:
        ask(wire, phone)
        for text in ("first", "second"):
            await service.waits()
            await posted(service, phone, text)
            answer = await wire.answer()
            assert (answer.status, answer.json["data"]) == (200, {"alert": text})
            ask(wire, phone, answer.json["id"])
        await service.waits()
    assert await service.queued(phone.instance) == []


async def test_a_message_reaches_a_poll_of_another_process(redis_client: Redis, redis_address: str) -> None:
    async with house(redis_client, redis_address) as here, house(redis_client, redis_address) as there:
        phone = await here.new_phone()
        async with there.wire() as wire:
            ask(wire, phone)
            await there.waits()
            await posted(here, phone, "hello")
            assert (await wire.answer()).json["data"] == {"alert": "hello"}


async def test_no_message_is_lost_between_the_lookup_and_the_wait(service: House) -> None:
    """Messages and polls race: in either order, each poll ends with the next message."""
    phone = await service.new_phone()
    async with service.wire() as wire:
        last: int | None = None
        for number in range(60):
            ask(wire, phone, last)
            if number % 3:
                await asyncio.sleep(0.0005 * (number % 5))
            await posted(service, phone, str(number))
            answer = await wire.answer()
            assert answer.json["data"] == {"alert": str(number)}
            assert last is None or answer.json["id"] > last
            last = answer.json["id"]


async def test_an_acknowledged_message_is_never_delivered_again(service: House) -> None:
    """A burst while devices poll: each message arrives once, in order, despite late notifications."""
    phone = await service.new_phone()
    total = 200
    got: list[str] = []

    async def devour() -> None:
        last: int | None = None
        async with service.wire() as wire:
            while len(got) < total:
                ask(wire, phone, last)
                answer = await wire.answer()
                got.append(answer.json["data"]["alert"])
                last = answer.json["id"]

    async def burst() -> None:
        async with service.wire() as wire:
            for number in range(total):
                body = json.dumps({"data": {"alert": str(number)}}).encode()
                wire.send(
                    "POST",
                    f"/messageQueue/{phone.token}",
                    body,
                    Content_Type="application/json",
                    Authorization=basic(APP),
                )
                assert (await wire.answer()).status == 204

    await asyncio.gather(devour(), burst())
    assert got == [str(number) for number in range(total)]


async def test_the_end_of_the_wait_is_204(redis_client: Redis, redis_address: str) -> None:
    async with house(redis_client, redis_address, times=PushTimeouts(wait_s=1.0)) as service:
        phone = await service.new_phone()
        async with service.wire() as wire:
            ask(wire, phone)
            answer = await wire.answer()
            assert (answer.status, answer.body) == (204, b"")
            # After this, the process of rhoconnect-push failed at the next message and lost it.
            await posted(service, phone, "after the end")
            ask(wire, phone)
            assert (await wire.answer()).json["data"] == {"alert": "after the end"}


async def test_a_second_poll_answers_the_first(service: House) -> None:
    phone = await service.new_phone()
    async with service.wire() as first, service.wire() as second:
        ask(first, phone)
        await service.waits()
        ask(second, phone)
        assert (await first.answer()).status == 204
        await service.waits()
        await posted(service, phone, "hello")
        assert (await second.answer()).json["data"] == {"alert": "hello"}


async def test_a_second_poll_answers_the_first_in_another_process(
    redis_client: Redis, redis_address: str
) -> None:
    async with house(redis_client, redis_address) as here, house(redis_client, redis_address) as there:
        phone = await here.new_phone()
        async with here.wire() as first, there.wire() as second:
            ask(first, phone)
            await here.waits()
            ask(second, phone)
            assert (await first.answer()).status == 204
            await there.waits()
            assert len(here.service.polls) == 0


@pytest.mark.parametrize("how", ["registration", "instance"])
async def test_the_end_of_the_last_registration_answers_a_poll(service: House, how: str) -> None:
    """The answer is an immediate 410; but forgetting a whole instance leaves the poll waiting (contract §9)."""
    phone = await service.new_phone()
    async with service.wire() as wire:
        ask(wire, phone)
        await service.waits()
        if how == "registration":
            assert (await service.register(phone, method="DELETE")).status == 204
            answer = await wire.answer()
            assert (answer.status, answer.body) == (410, b"")
        else:
            assert await service.store.forget(phone.instance)
            assert len(service.service.polls) == 1


async def test_a_closed_connection_leaves_no_poll(service: House) -> None:
    phone = await service.new_phone()
    async with service.wire() as wire:
        ask(wire, phone)
        await service.waits()
    await service.waits(0)
    assert len(service.service.polls) == 0


async def test_the_end_of_the_process_answers_all_polls(redis_client: Redis, redis_address: str) -> None:
    async with house(redis_client, redis_address) as service:
        phone = await service.new_phone()
        async with service.wire() as wire:
            ask(wire, phone)
            await service.waits()
            closing = asyncio.create_task(service.service.close(5.0))
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (204, "close")
            await closing


async def test_polls_survive_a_lost_connection_to_redis(service: House) -> None:
    phone = await service.new_phone()
    async with service.wire() as wire:
        ask(wire, phone)
        await service.waits()
        # Queued while the channel is not subscribed: found at the next subscription.
        message = json.dumps({"id": 9, "token": phone.token, "data": {"alert": "hello"}})
        async with service.redis.pipeline(transaction=True) as pipe:
            pipe.client_kill_filter(_type="pubsub")
            pipe.zadd(f"que:{phone.instance}", {message: 9})
            await pipe.execute()
        assert (await wire.answer()).json["data"] == {"alert": "hello"}


# -- ids that never go back ------------------------------------------------------------------------------------


async def test_ids_begin_above_every_id_a_device_stores_and_fit_into_31_bits(service: House) -> None:
    phone = await service.new_phone()
    await posted(service, phone, "a")
    [message] = await service.queued(phone.instance)
    assert int(time.time()) - 1_577_836_800 - 60 < message["id"] < 2**31


async def test_a_second_apps_registration_does_not_set_ids_back(service: House) -> None:
    phone = await service.new_phone()
    await posted(service, phone, "a")
    before = int(await service.redis.get(f"cnt:{phone.instance}"))
    await service.register(phone, "app2mike")
    await posted(service, phone, "b")
    assert [message["id"] for message in await service.queued(phone.instance)] == [before, before + 1]


@pytest.mark.parametrize("counter", [None, "0"])
async def test_a_counter_that_was_lost_or_set_back_starts_above_what_is_queued(
    service: House, counter: str | None
) -> None:
    phone = await service.new_phone()
    high = 2_000_000_000
    await service.redis.delete(f"cnt:{phone.instance}")
    if counter is not None:
        await service.redis.set(f"cnt:{phone.instance}", counter)
    await service.redis.zadd(
        f"que:{phone.instance}", {f'{{"id":{high},"token":"{phone.token}","data":{{}}}}': high}
    )
    await posted(service, phone, "b")
    assert [message["id"] for message in await service.queued(phone.instance)] == [high, high + 1]


async def test_an_id_above_the_counter_acknowledges_nothing(service: House) -> None:
    phone = await service.new_phone()
    await posted(service, phone, "a")
    [message] = await service.queued(phone.instance)
    for last in (message["id"] + 1, 2**31 - 1, 2**70):
        async with service.wire() as wire:
            ask(wire, phone, last)
            assert (await wire.answer()).json == message
    async with service.wire() as wire:
        ask(wire, phone, message["id"])
        await service.waits()
    assert await service.queued(phone.instance) == []


# -- collapse --------------------------------------------------------------------------------------------------


async def test_a_collapse_replaces_the_queued_message_of_the_same_app(service: House) -> None:
    phone = await service.new_phone()
    second = (await service.register(phone, "app2mike")).json["token"]
    await posted(service, phone, "old", collapseId=5)
    await posted(service, phone, "other id", collapseId=6)
    await service.post(second, {"collapseId": 5, "data": {"alert": "other app"}}, "app2mike")
    await posted(service, phone, "new", collapseId=5)
    found = [message["data"]["alert"] for message in await service.queued(phone.instance)]
    assert found == ["other id", "other app", "new"]
    assert await service.redis.zcard(f"col:{phone.instance}") == 3


async def test_a_message_collapsed_between_delivery_and_acknowledgement_is_not_lost(service: House) -> None:
    """rhoconnect-push reuses the id, so that the acknowledgement of the first message deletes the second."""
    phone = await service.new_phone()
    await posted(service, phone, "old", collapseId=5)
    async with service.wire() as wire:
        ask(wire, phone)
        delivered = (await wire.answer()).json
        await posted(service, phone, "new", collapseId=5)
        ask(wire, phone, delivered["id"])
        answer = await wire.answer()
        assert answer.json["data"] == {"alert": "new"}
        assert answer.json["id"] > delivered["id"]


async def test_without_a_collapse_id_nothing_collapses(service: House) -> None:
    phone = await service.new_phone()
    for text in ("a", "b"):
        await posted(service, phone, text)
    assert [message["data"]["alert"] for message in await service.queued(phone.instance)] == ["a", "b"]


async def test_the_old_rule_collapses_all_without_a_collapse_id(
    redis_client: Redis, redis_address: str
) -> None:
    keeping = MailboxLimits(collapse_unnamed=True)
    async with house(redis_client, redis_address, keeping=keeping) as service:
        phone = await service.new_phone()
        for text in ("a", "b"):
            await posted(service, phone, text)
        assert [message["data"]["alert"] for message in await service.queued(phone.instance)] == ["b"]
        assert await redis_client.zrange(f"col:{phone.instance}", 0, -1) == [f"undefined:{APP}".encode()]


# -- limits ----------------------------------------------------------------------------------------------------


async def test_beyond_the_limit_the_oldest_messages_are_removed(
    redis_client: Redis, redis_address: str
) -> None:
    async with house(redis_client, redis_address, keeping=MailboxLimits(queue_max=3)) as service:
        phone = await service.new_phone()
        for text in "abcde":
            await posted(service, phone, text)
        assert [message["data"]["alert"] for message in await service.queued(phone.instance)] == list("cde")
        assert await redis_client.zcard(f"col:{phone.instance}") == 3


async def test_an_instance_has_at_most_64_registrations(service: House) -> None:
    phone = await service.new_phone("app0")
    answers = [(await service.register(phone, f"app{number}")).status for number in range(66)]
    assert answers == [201] * 64 + [403] * 2
    assert await service.redis.scard(f"reg:{phone.instance}") == 64


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 17_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 400_000 + b"\r\n\r\n", 431),
        (b"POST /messageQueue/t HTTP/1.1\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, 413),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 400),
    ],
    ids=["long head", "very long head", "long body", "no HTTP", "upgrade"],
)
async def test_a_refused_request_closes_the_connection(
    service: House, request_bytes: bytes, status: int
) -> None:
    async with service.wire() as wire:
        wire.writer.write(request_bytes)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert sorted(json.loads(answer.body)["error"]) == ["code", "field", "message"]
        assert await wire.ended() == b""


async def test_a_head_of_16_kilobytes_is_accepted(service: House) -> None:
    async with service.wire() as wire:
        wire.writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 16_000 + b"\r\n\r\n")
        assert (await wire.answer()).status == 403


@pytest.mark.parametrize(
    "start", [b"GET /nextMess", b"POST /messageQueue/t HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort"]
)
async def test_a_request_that_is_cut_off_is_answered(service: House, start: bytes) -> None:
    async with service.wire() as wire:
        wire.writer.write(start)
        wire.writer.write_eof()
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await wire.ended() == b""


async def test_slow_senders_and_idle_connections_reach_their_time_limits(
    redis_client: Redis, redis_address: str
) -> None:
    times = PushTimeouts(request_s=1.0, idle_s=1.0)
    async with (
        house(redis_client, redis_address, times=times) as service,
        service.wire() as slow,
        service.wire() as idle,
    ):
        slow.writer.write(b"GET /nextMess")
        assert (await slow.answer()).status == 408
        assert await slow.ended() == b""
        assert await idle.ended() == b""


async def test_a_pipelined_request_is_not_read(service: House) -> None:
    async with service.wire() as wire:
        wire.send("GET", "/")
        wire.send("GET", "/")
        assert (await wire.answer()).headers["connection"] == "close"
        assert await wire.ended() == b""


@pytest.mark.parametrize("chunk", [1, 7, 40])
async def test_a_request_in_chunks_is_the_same_request(service: House, chunk: int) -> None:
    phone = await service.new_phone()
    body = b'{"data":{"alert":"in pieces"}}'
    head = (
        f"POST /messageQueue/{phone.token} HTTP/1.1\r\nHost: push\r\nContent-Type: application/json\r\n"
        f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\nAuthorization: {basic(APP)}\r\n\r\n"
    ).encode()

    async def send(wire: Wire, data: bytes) -> None:
        for start in range(0, len(data), chunk):
            wire.writer.write(data[start : start + chunk])
            await wire.writer.drain()
            await asyncio.sleep(0)

    async with service.wire() as wire:
        await send(wire, head)
        # A server that has already received a part of the body may omit it (RFC 9110 §10.1.1).
        assert (await wire.reader.readline()) == b"HTTP/1.1 100 Continue\r\n"
        await wire.reader.readline()
        await send(wire, body)
        assert (await wire.answer()).status == 204
    assert len(await service.queued(phone.instance)) == 1


# -- authentication ------------------------------------------------------------------------------------------


async def test_positive_answers_are_cached_and_negative_answers_are_not(service: House) -> None:
    phone = await service.new_phone()
    for _ in range(3):
        await posted(service, phone, "a")
        await service.register(phone, method="GET")
    paths = [path for path, _, _ in service.judge.asked]
    assert paths == ["/rc/v1/app/rps_login", "/rc/v1/system/rps_login"]
    for _ in range(2):
        bad = await service.post(phone.token, {"data": {}}, "stranger")
        assert bad.status == 401
    assert [path for path, _, _ in service.judge.asked][2:] == ["/rc/v1/system/rps_login"] * 2


async def test_without_rhoconnect_devices_and_apps_receive_503(service: House) -> None:
    phone = await service.new_phone()
    await service.judge.stop()
    user = await service.call("POST", "/instanceId", Cookie="other=1", Authorization=basic("other"))
    app = await service.post(phone.token, {"data": {}}, "app2mike")
    assert (user.status, app.status) == (503, 503)


# -- ids of both schemes -----------------------------------------------------------------------------------------


async def lay_old(service: House, **more: str) -> Phone:
    """A registration as rhoconnect-push stores it."""
    phone = Phone(old_id("instance", "usermike"), "", old_id("token", APP))
    phone.cookie = old_id("cookie", phone.instance)
    await service.redis.sadd(
        f"reg:{phone.instance}", json.dumps({"token": phone.token, "appname": APP}, separators=(",", ":"))
    )
    await service.redis.set(f"tok:{phone.token}", phone.instance)
    await service.redis.set(f"cnt:{phone.instance}", 41)
    return phone


async def test_live_data_is_served_from_the_first_poll(service: House) -> None:
    phone = await lay_old(service)
    for number, text in ((40, "a"), (41, "b")):
        message = json.dumps({"id": number, "token": phone.token, "data": {"alert": text}})
        await service.redis.zadd(f"que:{phone.instance}", {message: number})
        await service.redis.zadd(f"col:{phone.instance}", {f"{number}:{APP}": number})
    async with service.wire() as wire:
        ask(wire, phone)
        assert (await wire.answer()).json["data"] == {"alert": "a"}
        ask(wire, phone, 40)
        assert (await wire.answer()).json["data"] == {"alert": "b"}
        ask(wire, phone, 41)
        await service.waits()
        await posted(service, phone, "c")
        answer = (await wire.answer()).json
        assert (answer["id"], answer["token"], answer["data"]) == (42, phone.token, {"alert": "c"})
    assert service.judge.asked[0][0] == "/rc/v1/system/rps_login"
    again = await service.register(phone)
    assert (again.status, again.json) == (201, {"token": phone.token})


async def test_an_old_id_that_is_not_registered_may_register(service: House) -> None:
    phone = await lay_old(service)
    await service.store.forget(phone.instance)
    poll = await service.call("GET", phone.poll, Cookie=f"instance={phone.cookie}")
    assert poll.status == 404
    assert (await service.register(phone, method="GET")).status == 404
    assert await service.rest(phone.instance) == []
    registered = await service.register(phone)
    assert registered.status == 201
    assert (await service.post(registered.json["token"], {"data": {}})).status == 204


async def test_a_new_instance_accepts_no_unsigned_cookie(service: House) -> None:
    """The old cookie of an instance can be computed from its id: the fixed secret is public."""
    phone = await service.new_phone()
    forged = old_id("cookie", phone.instance)
    assert (await service.call("GET", phone.poll, Cookie=f"instance={forged}")).status == 401


async def test_a_registered_old_instance_gets_a_cookie_of_the_new_scheme(service: House) -> None:
    phone = await lay_old(service)
    answer = await service.call(
        "GET",
        f"/instanceId/{phone.instance}",
        Cookie="rhoconnect_session=BAh7--signed",
        Authorization=basic("usermike"),
    )
    cookie = answer.headers["set-cookie"].partition("=")[2]
    assert (answer.status, cookie) == (204, service.ids.cookie(phone.instance))
    assert (await service.call("GET", phone.poll + "?lastMessage=1", Cookie="instance=x:y")).status == 401
    async with service.wire() as wire:
        wire.send("GET", phone.poll, Cookie=f"instance={cookie}")
        await service.waits()


async def test_the_old_scheme_can_be_ended(redis_client: Redis, redis_address: str) -> None:
    async with house(redis_client, redis_address, weak=False) as service:
        phone = await lay_old(service)
        assert (await service.call("GET", phone.poll, Cookie=f"instance={phone.cookie}")).status == 404
        assert (await service.post(phone.token, {"data": {}})).status == 401
