"""One connection that packs commands, keeps the order, reconnects, and never sends a command twice."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.errors import StoreDown
from gateway.scheduling import background
from gateway.store.address import RedisAddress
from gateway.store.connection import ConnectionLost, RedisConnection, RedisReplyError, Script
from tests.gateway.conftest import MakeLink
from tests.support.proxy import Proxy
from tests.support.redis import KINDS, RedisServer
from tests.support.worker_core import until

ECHO = Script("return ARGV[1]")


async def test_replies_come_in_order(connection: RedisConnection) -> None:
    replies = [connection.call("ECHO", n) for n in range(1000)]
    assert await asyncio.gather(*replies) == [b"%d" % n for n in range(1000)]


async def test_a_command_that_redis_refuses_affects_no_other(
    connection: RedisConnection, redis_client: Redis
) -> None:
    await redis_client.set("text", "x")
    first, wrong, last = (
        connection.call("ECHO", "a"),
        connection.call("INCR", "text"),
        connection.call("ECHO", "b"),
    )
    assert (await first, await last) == (b"a", b"b")
    with pytest.raises(RedisReplyError, match="not an integer"):
        await wrong


async def test_a_burst_has_a_reply_for_each_and_a_fault_in_its_place(connection: RedisConnection) -> None:
    def packed(*words: bytes) -> bytes:
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)

    first, fault, last = await connection.send_many(
        [packed(b"ECHO", b"a"), packed(b"NOSUCH"), packed(b"ECHO", b"b")]
    )
    assert (first, last) == (b"a", b"b")
    assert isinstance(fault, RedisReplyError)


async def test_a_script_is_sent_whole_only_once(connection: RedisConnection, redis_client: Redis) -> None:
    before = await calls(redis_client, "eval")
    assert [await connection.eval(ECHO, [], [n]) for n in range(5)] == [b"%d" % n for n in range(5)]
    assert await calls(redis_client, "eval") == before + 1


async def calls(redis: Redis, command: str) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_each_connection_has_the_name_of_its_purpose(make_link: MakeLink, redis_client: Redis) -> None:
    await make_link("append")
    assert "rhopush:append" in {one["name"] for one in await redis_client.client_list()}


async def test_a_user_without_a_password_is_not_the_default_user() -> None:
    with RedisServer("redis") as server:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "plain", "on", "nopass", "~*", "&*", "+@all")
        connection = RedisConnection(RedisAddress.parse(f"unix://plain@{server.socket}"), "one")
        await connection.open(30)
        assert await connection.call("ACL", "WHOAMI") == b"plain"
        await connection.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_at_its_connection_limit_is_reported(kind: str) -> None:
    """On uvloop, the workers' loop, which raises on writes to a connection that has ended."""
    with RedisServer(kind) as server, server.client() as client:
        client.config_set("maxclients", 1)
        connection = RedisConnection(RedisAddress.parse(server.address), "one")
        troubles: list[object] = []

        async def come() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, found: troubles.append(found))
            with pytest.raises(StoreDown, match="max number of clients"):
                await connection.open(1.0)
            client.config_set("maxclients", 100)
            await connection.open(30)
            await connection.close()

        with capture_logs() as logged, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(come())
        assert troubles == []
        assert {line["event"] for line in logged} == {"redis_unreachable"}


async def test_a_lost_connection_fails_all_commands_and_reconnects(
    redis_server: RedisServer, make_link: MakeLink
) -> None:
    async with Proxy(redis_server.socket) as proxy:
        connection = await make_link(address=proxy.address)
        proxy.lose(b"lost")
        lost = [connection.call("ECHO", "lost"), connection.call("ECHO", "behind it")]
        for future in lost:
            with pytest.raises(ConnectionLost) as error:
                await future
            assert error.value.sent
        await connection.wait_up()
        assert await connection.call("ECHO", "again") == b"again"


async def test_the_time_up_counts_from_the_last_loss(redis_server: RedisServer, make_link: MakeLink) -> None:
    async with Proxy(redis_server.socket) as proxy:
        connection = await make_link(address=proxy.address)
        assert connection.up_s == float("inf")
        proxy.vanish()
        await until(lambda: not connection.up)
        assert connection.up_s == 0.0
        await proxy.restore()
        await connection.wait_up()
        assert connection.up_s < float("inf")


def test_a_command_that_meets_the_loss_of_its_connection_breaks_nothing(redis_server: RedisServer) -> None:
    """The command is not written any more: uvloop raises if a closed transport is written to."""
    broken: list[dict[str, Any]] = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        connection = RedisConnection(RedisAddress.parse(redis_server.address), "test")
        await connection.open(30)
        wire = connection._protocol
        assert wire is not None
        wire.abort()
        replies: list[Any] = []
        while connection.up:
            connection.call_then(("PING",), replies.append)
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert isinstance(replies[-1], ConnectionLost)
        await connection.close()

    uvloop.run(play())
    assert broken == []


async def test_without_a_connection_nothing_was_sent(redis_server: RedisServer, make_link: MakeLink) -> None:
    async with Proxy(redis_server.socket) as proxy:
        connection = await make_link(address=proxy.address)
        proxy.vanish()
        await until(lambda: not connection.up)
        with pytest.raises(ConnectionLost) as error:
            await connection.call("ECHO", "x")
        assert not error.value.sent
        with pytest.raises(ConnectionLost):
            await connection.send_many([b"*1\r\n$4\r\nPING\r\n"])


async def test_an_unresponsive_connection_is_closed(redis_server: RedisServer, make_link: MakeLink) -> None:
    async with Proxy(redis_server.socket) as proxy:
        connection = await make_link(address=proxy.address, reply_s=0.1)
        proxy.lose(b"silence", cut=False)
        with pytest.raises(ConnectionLost):
            await connection.call("ECHO", "silence")
        await connection.wait_up()
        assert await connection.call("ECHO", "again") == b"again"


async def test_an_abandoned_connection_is_lost_at_once_and_not_established_again(
    redis_server: RedisServer, make_link: MakeLink, redis_client: Redis
) -> None:
    link = await make_link("tested", reply_s=1_000.0)
    redis_server.freeze()
    try:
        unanswered = link.call("PING")
        link.abandon()
        with pytest.raises(ConnectionLost):
            await unanswered
    finally:
        redis_server.thaw()

    async def gone() -> bool:
        return "rhopush:tested" not in {one["name"] for one in await redis_client.client_list()}

    await until(gone)
    with pytest.raises(ConnectionLost):
        await link.call("PING")
    await link.close()


async def test_a_missing_server_is_reported() -> None:
    connection = RedisConnection(RedisAddress(unix_path="/nowhere/s"), "test")
    with pytest.raises(StoreDown, match="cannot be reached"):
        await connection.open(0.1)
    assert not connection.up


@pytest.mark.parametrize("host", ["redis..example", f"{'a' * 64}.example"], ids=["empty label", "long label"])
async def test_an_invalid_host_name_is_an_unreachable_server(host: str) -> None:
    """A Sentinel may name such a host, too: the connection continues to ask for the present one."""
    connection = RedisConnection(RedisAddress(host=host), "test")
    connection.start()
    await until(lambda: connection.error)
    assert connection.error == "not a valid host name"
    with pytest.raises(StoreDown, match="not a valid host name"):
        await connection.call("PING")
    await connection.close()


async def test_authorities_that_cannot_be_read_are_waited_for(tmp_path: Path, unused_tcp_port: int) -> None:
    """For example while an operator replaces them."""
    address = RedisAddress.parse(f"rediss://127.0.0.1:{unused_tcp_port}?ssl_ca_certs={tmp_path}/ca.pem")
    connection = RedisConnection(address, "one")
    connection.start()
    await until(lambda: connection.error)
    missing = str(connection.error)
    assert "ca.pem: no such file" in missing
    (tmp_path / "ca.pem").write_text("half a fi")
    await until(lambda: str(connection.error) != missing)
    assert "not usable as PEM" in str(connection.error)
    await connection.close()


async def test_out_of_band_messages_are_passed_to_on_push(make_link: MakeLink, redis_client: Redis) -> None:
    heard: list[object] = []
    connection = await make_link("listens", on_push=heard.append)
    subscribed: list[object] = []
    connection.subscribe("news", subscribed.append)
    assert await connection.call("ECHO", "between") == b"between"
    assert subscribed == [b"OK"]
    await redis_client.publish("news", "hello")
    await until(lambda: heard)
    assert heard == [[b"message", b"news", b"hello"]]


async def test_the_owner_is_called_when_the_connection_changes(
    redis_server: RedisServer, make_link: MakeLink
) -> None:
    heard: list[str] = []
    async with Proxy(redis_server.socket) as proxy:
        await make_link(
            address=proxy.address, on_up=lambda: heard.append("up"), on_down=lambda: heard.append("down")
        )
        proxy.vanish()
        await until(lambda: heard == ["up", "down"])
        await proxy.restore()
        await until(lambda: heard == ["up", "down", "up"])
    assert heard[:3] == ["up", "down", "up"]


async def test_a_defect_of_on_up_closes_the_connection_and_opens_another_one(
    make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "RESTART_S", 0.01)
    defects = [RuntimeError("a defect"), OSError("another")]

    def on_up() -> None:
        if defects:
            raise defects.pop()

    link = await make_link(on_up=on_up)
    assert await link.call("PING") == b"PONG"
    assert defects == []


async def test_a_defect_of_on_down_leaves_no_call_without_an_answer(
    redis_server: RedisServer, make_link: MakeLink
) -> None:
    def on_down() -> None:
        raise RuntimeError("a defect")

    async with Proxy(redis_server.socket) as proxy:
        link = await make_link(address=proxy.address, on_down=on_down)
        waiting = link.call("BLPOP", "nothing", 0)
        await asyncio.sleep(0)
        proxy.vanish()
        with pytest.raises(ConnectionLost):
            await waiting


async def test_a_reply_to_no_command_closes_the_connection(make_link: MakeLink, tmp_path: Path) -> None:
    """A server of another protocol is not trusted."""

    async def strange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"+OK\r\n+surprise\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(strange, tmp_path / "s")
    async with server:
        connection = RedisConnection(RedisAddress(unix_path=str(tmp_path / "s")), "test")
        with pytest.raises(StoreDown):
            await connection.open(0.2)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_error_of_an_unresponsive_server_names_the_cause(kind: str) -> None:
    """The first attempt has not failed yet when the time is over."""
    with RedisServer(kind) as server:
        server.freeze()
        connection = RedisConnection(RedisAddress.parse(server.address), "test")
        with pytest.raises(StoreDown, match="cannot be reached: it does not answer"):
            await connection.open(0.05)
