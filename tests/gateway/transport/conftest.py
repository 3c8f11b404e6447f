"""Both event loops, uvloop in service and the standard one elsewhere; pools that close behind a test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from gateway.transport.feed import Endpoint
from gateway.transport.pool import ConnectionPool, Tuning
from tests.support.event_loop import PatientLoop
from tests.support.provider import ListFeed, Provider

QUICK = Tuning(backoff_first_s=0.01, backoff_most_s=0.05)
MakePool = Callable[..., ConnectionPool]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test of this folder on each."""
    return {"asyncio": PatientLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def make_pool() -> AsyncIterator[MakePool]:
    pools: list[ConnectionPool] = []

    def make(
        where: Provider | Endpoint,
        feed: ListFeed,
        *,
        connections_max: int = 4,
        deadline_s: float = 30,
        tuning: Tuning = QUICK,
    ) -> ConnectionPool:
        endpoint = where.endpoint() if isinstance(where, Provider) else where
        pool = ConnectionPool(
            endpoint, feed, connections_max=connections_max, deadline_s=deadline_s, tuning=tuning
        )
        pools.append(pool)
        pool.wake()
        return pool

    yield make
    for pool in pools:
        await pool.close(0)
        assert (pool.in_flight, pool.connected, pool._all) == (0, 0, [])


@pytest.fixture
def no_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline timer also mends what an event forgot: without it, that shows."""
    monkeypatch.setattr("gateway.transport.connection.TICK_MAX_S", 1000.0)
