"""The ceiling of HTTP connections on the main port."""

import asyncio
import contextlib
import json
import resource
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.http_api.aiohttp_handler import AiohttpConnection
from gateway.http_api.dependencies import HttpTimeouts
from gateway.limits.connection_limits import _READING_MAX
from protocols.response_headers import SAFETY_HEADERS
from tests.conftest import StartGateway
from tests.gateway.http_api.harness import TOKEN, WAIT_S, House, Wire, call, house, request, wire
from tests.support import gateway as support
from tests.support.redis import RedisServer

BOB = request({"user_id": "bob"})
FORM = request(b"user_id=bob", headers={"Content-Type": "application/x-www-form-urlencoded"})


async def connected(stack: AsyncExitStack, api: House, data: bytes = b"") -> Wire:
    """A client that the server has accepted: it has had an answer, or it is counted."""
    before = api.services.connections.main
    client = await stack.enter_async_context(wire(api.port))
    if data:
        client.send(data)
        assert (await client.answer()).status == 200
        return client
    await until(lambda: api.services.connections.main != before)
    return client


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("data", [BOB, FORM], ids=["fast", "aiohttp"])
async def test_the_oldest_idle_connection_makes_room(api: House, data: bytes) -> None:
    api.set(limits={"connections": 3})
    async with AsyncExitStack() as stack:
        first, second, third = [await connected(stack, api, data) for _ in range(3)]
        first.send(data)  # so that the second one is the oldest
        assert (await first.answer()).status == 200
        fourth = await stack.enter_async_context(wire(api.port))
        fourth.send(data)
        assert (await fourth.answer()).status == 200
        assert await second.rest() == b""
        for client in (first, third, fourth):
            client.send(data)
            assert (await client.answer()).status == 200
        fifth = await stack.enter_async_context(wire(api.port))
        fifth.send(data)
        assert (await fifth.answer()).status == 200
        assert await first.rest() == b""
    assert api.services.connections.main <= 3


async def test_a_connection_without_data_is_idle(api: House) -> None:
    api.set(limits={"connections": 2})
    async with AsyncExitStack() as stack:
        silent = [await connected(stack, api) for _ in range(2)]
        client = await stack.enter_async_context(wire(api.port))
        client.send(BOB)
        assert (await client.answer()).status == 200
        assert await silent[0].rest() == b""


@pytest.mark.parametrize("busy", ["head", "body", "aiohttp's head", "answer"])
async def test_without_an_idle_connection_a_new_one_is_refused(api: House, busy: str) -> None:
    api.set(limits={"connections": 2})
    begun = {"head": BOB[:40], "body": BOB[:-3], "aiohttp's head": FORM[:-30], "answer": BOB}[busy]
    async with AsyncExitStack() as stack:
        clients = [await connected(stack, api, BOB) for _ in range(2)]
        api.queue.holding = True
        for client in clients:
            client.send(begun)
        await until(lambda: all(one.idle_since is None for one in api.api._fast_path.connections))
        refused = await stack.enter_async_context(wire(api.port))
        answer = await refused.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (503, "connections_full")
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("2", "close")
        assert {name: answer.headers[name.lower()] for name, _ in SAFETY_HEADERS} == dict(SAFETY_HEADERS)
        assert await refused.rest() == b""
        if busy == "answer":
            api.queue.commit()
            assert [(await client.answer()).status for client in clients] == [200, 200]


INVENTED = request({"user_id": "bob"}, token="invented")
INVENTED_FORM = request(
    b"user_id=bob", token="invented", headers={"Content-Type": "application/x-www-form-urlencoded"}
)
STRANGERS = {
    "silent": b"",
    "head": BOB[:40],
    "body": INVENTED[:-3],
    "aiohttp's head": INVENTED_FORM[:-30],
    "aiohttp's body": INVENTED_FORM[:-3],
    "refused": INVENTED,
    "anonymous": request(method="GET", path="/healthz", token=None),
}


async def stranger_of(stack: AsyncExitStack, api: House, kind: str) -> Wire:
    """A client without credentials whose last use the server has recorded."""
    connections = api.api._fast_path.connections
    last_use = connections.last_use
    stranger = await stack.enter_async_context(wire(api.port))
    await until(lambda: connections.last_use > last_use)
    stranger.send(STRANGERS[kind])
    if kind in ("refused", "anonymous"):
        assert (await stranger.answer()).status in (200, 422)
    elif kind != "silent":
        await until(lambda: list(connections)[-1].idle_since is None)
    return stranger


@pytest.mark.parametrize("kind", STRANGERS)
async def test_unauthenticated_connections_make_room_before_an_idle_caller(api: House, kind: str) -> None:
    """The caller has been idle for longest; of the strangers the oldest goes first, and those that come later too."""
    api.set(limits={"connections": 3})
    async with AsyncExitStack() as stack:
        caller = await connected(stack, api, BOB)
        strangers = [await stranger_of(stack, api, kind) for _ in range(5)]
        for gone in strangers[:3]:
            assert await gone.rest() == b""
        newest = await connected(stack, api, BOB)
        assert await strangers[3].rest() == b""
        for client in (caller, newest):
            client.send(BOB)
            assert (await client.answer()).status == 200


async def test_an_unauthenticated_connection_does_not_become_newer_by_sending(api: House) -> None:
    api.set(limits={"connections": 2})
    async with AsyncExitStack() as stack:
        first = await connected(stack, api, STRANGERS["anonymous"])
        second = await connected(stack, api, STRANGERS["anonymous"])
        first.send(STRANGERS["anonymous"])
        assert (await first.answer()).status == 200
        await connected(stack, api, BOB)
        assert await first.rest() == b""
        second.send(STRANGERS["anonymous"])
        assert (await second.answer()).status == 200


async def test_an_unauthenticated_connection_with_a_pending_answer_is_not_closed(
    api: House, redis_server: RedisServer
) -> None:
    """Redis is asked what its token is worth."""
    api.set(limits={"connections": 2})
    async with AsyncExitStack() as stack:
        asking, silent = await connected(stack, api), await connected(stack, api)
        redis_server.freeze()
        try:
            asking.send(STRANGERS["refused"])
            await until(lambda: any(one.idle_since is None for one in api.api._fast_path.connections))
            await stack.enter_async_context(wire(api.port))
            assert await silent.rest() == b""
        finally:
            redis_server.thaw()
        assert (await asking.answer()).status == 422


LONG = {"user_id": ["bob"] * 20_000}
TRUSTED = {
    "token in the header": BOB,
    "token in the body": request({"user_id": "bob", "api_token": TOKEN}, token=None),
    "form": FORM,
    "form with its token": request(
        f"user_id=bob&api_token={TOKEN}".encode(),
        token=None,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ),
    "long body": request(LONG),
    "another route": request(method="GET", path="/rc/v1/users"),
}


@pytest.mark.parametrize("kind", TRUSTED)
async def test_a_valid_token_authenticates_a_connection(api: House, kind: str) -> None:
    api.set(limits={"connections": 2})
    async with AsyncExitStack() as stack:
        caller = await connected(stack, api, TRUSTED[kind])
        stranger = await connected(stack, api)
        await connected(stack, api, BOB)
        assert await stranger.rest() == b""
        caller.send(BOB)
        assert (await caller.answer()).status == 200


async def test_a_handed_over_connection_stays_authenticated(api: House) -> None:
    api.set(limits={"connections": 2})
    async with AsyncExitStack() as stack:
        caller = await connected(stack, api, BOB)
        caller.send(STRANGERS["anonymous"])
        assert (await caller.answer()).status == 200
        stranger = await connected(stack, api)
        await connected(stack, api, BOB)
        assert await stranger.rest() == b""
        caller.send(BOB)
        assert (await caller.answer()).status == 200


async def test_a_session_authenticates_a_connection(api: House) -> None:
    body = {"attributes": {"login": "bob", "password": "secret"}}
    assert (await call(api, body, path="/rc/v1/users")).status == 200
    login = await call(api, {"login": "bob", "password": "secret"}, path="/rc/v1/app/login", token=None)
    cookie = login.headers["set-cookie"].partition(";")[0]
    await until(lambda: not api.services.connections.main)
    api.set(limits={"connections": 2})
    async with AsyncExitStack() as stack:
        device = await connected(
            stack,
            api,
            request({}, path="/rc/v1/clients", token=None, headers={"Cookie": cookie}),
        )
        stranger = await connected(stack, api)
        await connected(stack, api, BOB)
        assert await stranger.rest() == b""
        device.send(BOB)
        assert (await device.answer()).status == 200


@pytest.mark.parametrize(
    ("sent", "known"), [(BOB, True), (FORM, True), (request(LONG), False)], ids=["fast", "aiohttp", "long"]
)
async def test_the_body_of_a_caller_is_not_cut_off_for_another(api: House, sent: bytes, known: bool) -> None:
    """The token of the caller is checked before a complete ping was sent."""
    if known:
        assert (await call(api, {"user_id": "bob"})).status == 200
    await until(lambda: not api.services.connections.main)
    api.set(limits={"connections": 2})
    async with AsyncExitStack() as stack:
        caller = await connected(stack, api)
        caller.send(sent[:-3])
        await until(lambda: all(one.trusted for one in api.api._fast_path.connections))
        stranger = await connected(stack, api)
        await connected(stack, api, BOB)
        assert await stranger.rest() == b""
        caller.send(sent[-3:])
        assert (await caller.answer()).status == 200


def unread_of(api: House) -> asyncio.Transport:
    """The transport of the only connection, also where it was just handed over."""
    (connection,) = api.api._fast_path.connections
    found = connection.transport if isinstance(connection, AiohttpConnection) else connection._transport
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["refused", "anonymous"])
async def test_a_client_that_does_not_read_its_answers_is_closed_immediately(api: House, kind: str) -> None:
    """A close that waits for its client would keep the socket for as long as the client likes, and count no more."""
    api.set(limits={"connections": 1})
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, ("127.0.0.1", api.port))
        await until(lambda: bool(api.services.connections.main))

        while not unread_of(api).get_write_buffer_size():
            with contextlib.suppress(BlockingIOError):
                deaf.send(STRANGERS[kind])
            await asyncio.sleep(0)
        unread = unread_of(api)
        await until(lambda: all(one.awaits_client for one in api.api._fast_path.connections))
        assert unread.get_write_buffer_size() > 0
        async with wire(api.port) as client:
            client.send(BOB)
            assert (await client.answer()).status == 200
            assert unread.get_write_buffer_size() == 0


async def test_unread_last_answers_do_not_keep_a_connection_forever(redis_client: Redis) -> None:
    """So few that the transport takes them all: nothing but the close is waiting for the client."""
    loop = asyncio.get_running_loop()
    async with house(redis_client, timeouts=HttpTimeouts(read_s=0.2, tick_s=0.05)) as api:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            deaf.setblocking(False)
            await loop.sock_connect(deaf, ("127.0.0.1", api.port))
            await until(lambda: bool(api.services.connections.main))
            unread_of(api).get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_048)
            await loop.sock_sendall(deaf, STRANGERS["anonymous"])
            await until(
                lambda: all(isinstance(one, AiohttpConnection) for one in api.api._fast_path.connections)
            )
            (handed,) = api.api._fast_path.connections
            while not unread_of(api).get_write_buffer_size():
                sent = handed.idle_since
                await loop.sock_sendall(deaf, STRANGERS["anonymous"])
                await until(lambda sent=sent: handed.idle_since not in (None, sent))
            unread = unread_of(api)
            last = request(method="GET", path="/healthz", token=None, headers={"Connection": "close"})
            await loop.sock_sendall(deaf, last)
            await until(unread.is_closing)
            await until(lambda: not api.services.connections.main)
            assert unread.get_write_buffer_size() == 0
            assert handed not in list(api.api._fast_path.connections)


async def test_closed_connections_free_their_places(api: House) -> None:
    api.set(limits={"connections": 1})
    async with AsyncExitStack() as stack:
        client = await connected(stack, api)
        client.send(BOB[:-3])
        await client.writer.drain()
    await until(lambda: not api.services.connections.main)
    async with wire(api.port) as client:
        client.send(BOB)
        assert (await client.answer()).status == 200


async def test_few_refused_connections_stay_open(api: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is answered; the others are closed at once, before their clients have closed."""
    monkeypatch.setattr("gateway.limits.connection_limits._REFUSED_S", WAIT_S * 6)
    api.set(limits={"connections": 1})
    async with AsyncExitStack() as stack:
        busy = await connected(stack, api, BOB)
        busy.send(BOB[:-3])
        await until(lambda: all(one.idle_since is None for one in api.api._fast_path.connections))
        for _ in range(200):
            refused = await stack.enter_async_context(wire(api.port))
            assert b"connections_full" in await refused.rest()
        assert len(api.services.connections._reading) == _READING_MAX
        busy.send(BOB[-3:])
        assert (await busy.answer()).status == 200


async def test_authenticated_connections_survive_a_flood_of_others(start_gateway: StartGateway) -> None:
    """Half of the strangers send nothing, the others begin a request that they do not end."""
    gateway = await start_gateway({"limits": {"connections": 20}})
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(wire(gateway.port)) for _ in range(10)]
        ping = request({"user_id": "bob"}, token=support.TOKEN)
        for caller in callers:
            caller.send(ping)
            assert (await caller.answer()).status == 200
        for number in range(200):
            stranger = await stack.enter_async_context(wire(gateway.port))
            stranger.send(ping[:40] if number % 2 else b"")
        newcomer = await stack.enter_async_context(wire(gateway.port))
        for caller in (*callers, newcomer):
            caller.send(ping)
            assert (await caller.answer()).status == 200


@pytest.mark.timeout(180)
async def test_a_worker_without_free_file_descriptors_continues(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    """Accept fails with EMFILE: the worker neither ends nor spins, and serves again once there are files."""
    gateway = await start_gateway({"limits": {"connections": 10_000}})
    (worker,) = gateway.workers
    used = len(list(Path(f"/proc/{worker}/fd").iterdir()))
    hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 10, hard))
    opened = [await asyncio.open_connection(gateway.host, gateway.port) for _ in range(40)]
    before = cpu_ticks(worker)
    await asyncio.sleep(1.0)
    assert cpu_ticks(worker) - before < 50  # of a hundred in a second
    for _, writer in opened:
        writer.close()
    async with asyncio.timeout(WAIT_S):
        while len(list(Path(f"/proc/{worker}/fd").iterdir())) > used + 2:
            await asyncio.sleep(0.02)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (hard, hard))
    assert (await gateway.ping("bob")).status == 200
    assert gateway.workers == [worker]


def cpu_ticks(pid: int) -> int:
    """User and system time of a process, in clock ticks (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
