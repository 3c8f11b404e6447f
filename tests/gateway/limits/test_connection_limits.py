"""Limits of the HTTP connections of a process."""

import asyncio
import resource

import pytest

from gateway.limits import connection_limits
from gateway.limits.connection_limits import ConnectionLimits
from gateway.system.open_files import RESERVED_FILES


def test_the_ceiling_comes_from_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits(soft: int, main: int = 0, push: int = 0) -> ConnectionLimits:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
        found = ConnectionLimits()
        found.main, found.push = main, push
        return found

    usable = 1_024 - RESERVED_FILES
    assert not limits(1_024, main=usable * 3 // 4 - 1).main_full()
    assert limits(1_024, main=usable * 3 // 4).main_full()
    assert limits(1_024, push=usable * 3 // 4).push_full()
    # A quarter is reserved for the other port; and both together never exceed the total.
    assert not limits(1_024, main=usable // 4 - 1, push=usable * 3 // 4).main_full()
    assert limits(1_024, main=usable // 4, push=usable * 3 // 4).main_full()
    assert limits(1_024, main=usable // 2, push=usable // 2).push_full()
    assert limits(64, main=24).main_full()
    assert not limits(resource.RLIM_INFINITY, main=700_000).main_full()


def test_a_setting_is_bounded_by_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it an accept would fail with EMFILE, and so would every connection to Redis and to a provider."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 1_024))
    found = ConnectionLimits(500)
    found.main = 500
    assert found.main_full()
    found.main = 499
    assert not found.main_full()
    found.push = 400
    assert found.main_full()
    found.setting = 10_000
    found.main, found.push = 575, 0
    assert not found.main_full()
    found.main = 576
    assert found.main_full()


@pytest.mark.parametrize("files", [64, 1_024, 20_000])
@pytest.mark.parametrize("setting", [None, 500])
def test_a_port_may_have_the_largest_number(
    files: int, setting: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    found = ConnectionLimits(setting)
    found.push = found.most - 1
    assert not found.push_full()
    found.push = found.most
    assert found.push_full()


async def test_a_bounded_number_of_refused_connections_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "_READING_MAX", 2)
    limits = ConnectionLimits()

    class Refusing(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            limits.refuse(transport)

    server = await asyncio.get_running_loop().create_server(Refusing, "127.0.0.1", 0)
    async with server, asyncio.timeout(30):
        host, port = server.sockets[0].getsockname()
        clients = [await asyncio.open_connection(host, port) for _ in range(5)]
        for reader, _ in clients:
            assert (await reader.read()).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert len(limits._reading) == 2
        for _, writer in clients:
            writer.close()
        while limits._reading:
            await asyncio.sleep(0.01)
    assert (limits.take_refused(), limits.take_refused()) == (5, 0)
