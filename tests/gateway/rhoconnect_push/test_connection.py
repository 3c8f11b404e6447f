"""Limits of connections and bodies: a long poll is never closed for another connection."""

import asyncio
import gc
import json
from contextlib import AsyncExitStack

import pytest

from gateway.rhoconnect_push.connection import PushConnection
from protocols.http1.request_parser import BODY_BYTES_MAX
from protocols.http1.states import ServerState
from tests.gateway.rhoconnect_push.harness import APP, WAIT_S, House, Phone, Wire, basic


def poll(client: Wire, phone: Phone) -> None:
    client.send("GET", phone.poll, Cookie=f"instance={phone.cookie}")


async def test_at_the_limit_new_connections_are_refused_and_no_poll_is_closed(service: House) -> None:
    phones = [await service.new_phone() for _ in range(3)]
    await until_empty(service)
    service.service._limits.setting = 3
    async with AsyncExitStack() as stack:
        polls = [await stack.enter_async_context(service.wire()) for _ in phones]
        for client, phone in zip(polls, phones, strict=True):
            poll(client, phone)
        await service.waits(3)
        refused = await stack.enter_async_context(service.wire())
        answer = await refused.answer()
        assert (answer.status, answer.json["error"]["code"]) == (503, "connections_full")
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("2", "close")
        assert await refused.ended() == b""
        service.service._limits.setting = 4
        for client, phone in zip(polls, phones, strict=True):
            assert (await service.post(phone.token, {"data": {"alert": phone.instance}})).status == 204
            assert (await client.answer()).json["data"] == {"alert": phone.instance}


async def test_an_idle_connection_makes_room_for_a_new_one(service: House) -> None:
    phone = await service.new_phone()
    await until_empty(service)
    service.service._limits.setting = 3
    async with AsyncExitStack() as stack:
        waiting = await stack.enter_async_context(service.wire())
        poll(waiting, phone)
        await service.waits()
        idle = [await stack.enter_async_context(service.wire()) for _ in range(2)]
        for client in idle:
            client.send("GET", "/nothing")
            assert (await client.answer()).status == 403
        assert (await service.post(phone.token, {"data": {"alert": "hello"}})).status == 204
        assert await idle[0].ended() == b""
        assert (await waiting.answer()).json["data"] == {"alert": "hello"}
        idle[1].send("GET", "/nothing")
        assert (await idle[1].answer()).status == 403


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET /nextMess", b"POST /messageQueue/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx"],
    ids=["silent", "head", "body"],
)
async def test_untrusted_unfinished_requests_do_not_block_devices_and_apps(
    service: House, begun: bytes
) -> None:
    """Unfinished requests fill the port; a device and an app still connect, and the polls stay."""
    phone = await service.new_phone()
    await until_empty(service)
    service.service._limits.setting = 4
    async with AsyncExitStack() as stack:
        waiting = await stack.enter_async_context(service.wire())
        poll(waiting, phone)
        await service.waits()
        strangers = [await stack.enter_async_context(service.wire()) for _ in range(3)]
        for client in strangers:
            client.writer.write(begun)
        wanted = {b"": ServerState.WAITING, b"G": ServerState.HEAD, b"P": ServerState.BODY}[begun[:1]]
        async with asyncio.timeout(WAIT_S):
            while [one.state for one in service.service.connections].count(wanted) < 3:
                await asyncio.sleep(0.002)
        assert (await service.post(phone.token, {"data": {"alert": "hello"}})).status == 204
        assert await strangers[0].ended() == b""
        assert (await waiting.answer()).json["data"] == {"alert": "hello"}
        other = await service.new_phone()
        assert other.token
        assert service.service._limits.push <= 4


async def test_an_app_that_sends_slowly_is_not_closed_for_an_untrusted_client(service: House) -> None:
    """The app's credentials came with an earlier request."""
    phone = await service.new_phone()
    await until_empty(service)
    service.service._limits.setting = 2
    message = json.dumps({"data": {"alert": "slowly"}}).encode()
    async with service.wire() as app, service.wire() as stranger:
        for _ in range(2):
            app.send(
                "POST",
                f"/messageQueue/{phone.token}",
                message,
                Content_Type="application/json",
                Authorization=basic(APP),
            )
            assert (await app.answer()).status == 204
        app.writer.write(b"POST /messageQueue/x HT")
        async with asyncio.timeout(WAIT_S):
            while not any(one.state is ServerState.HEAD for one in service.service.connections):
                await asyncio.sleep(0.002)
        async with service.wire() as newcomer:
            newcomer.send("GET", "/nothing")
            assert (await newcomer.answer()).status == 403
            assert await stranger.ended() == b""
        app.writer.write(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert (await app.answer()).status == 400


async def until_empty(service: House) -> None:
    """Wait until the connections of earlier calls are closed."""
    async with asyncio.timeout(WAIT_S):
        while service.service.connections:
            await asyncio.sleep(0.002)


async def test_a_body_too_long_by_its_length_is_refused_without_100_continue(service: House) -> None:
    async with service.wire() as client:
        client.writer.write(
            b"POST /messageQueue/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1)
        )
        assert (await client.answer()).status == 413
        assert await client.ended() == b""


async def test_long_bodies_reserve_and_release_the_body_budget(service: House) -> None:
    phone = await service.new_phone()
    bodies = service.service.bodies
    bodies.limit = 200_000
    message = json.dumps({"data": {"alert": "x" * 30_000}}).encode()
    start = (
        f"POST /messageQueue/{phone.token} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Authorization: {basic(APP)}\r\nContent-Length: {len(message)}\r\n\r\n"
    ).encode()

    async def held(count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while bodies.reserved != count:
                await asyncio.sleep(0.002)

    async with service.wire() as client, service.wire() as gone:
        client.writer.write(start + message[:-1])
        await held(len(message))
        assert (await service.post(phone.token, message)).status == 503
        assert (await service.post(phone.token, {"data": {"alert": "short"}})).status == 204
        client.writer.write(message[-1:])
        assert (await client.answer()).status == 204
        await held(0)
        assert (await service.post(phone.token, message)).status == 204
        gone.writer.write(start + message[:-1])
        await held(len(message))
        gone.writer.transport.abort()
        await held(0)


async def test_a_body_in_tiny_chunks_is_read(service: House) -> None:
    phone = await service.new_phone()
    message = json.dumps({"data": {"alert": "x" * 20_000}}).encode()
    async with service.wire() as client:
        client.writer.write(
            f"POST /messageQueue/{phone.token} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            f"Authorization: {basic(APP)}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        client.writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in message) + b"0\r\n\r\n")
        assert (await client.answer()).status == 204
    assert (await service.queued(phone.instance))[0]["data"]["alert"] == "x" * 20_000


async def test_a_refused_connection_is_removed_when_its_client_closes_it(service: House) -> None:
    """Removal does not wait for the timer: many refused requests would fill the memory until then."""
    async with service.wire() as client:
        client.writer.write(b"no HTTP\r\n\r\n")
        assert (await client.answer()).status == 400
    async with asyncio.timeout(WAIT_S):
        while service.service.connections:
            await asyncio.sleep(0)
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, PushConnection)]
