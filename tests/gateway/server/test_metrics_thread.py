"""The supervisor's metrics thread with real channels, and its listener with real and hostile clients."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.logs.plain import PlainLog
from gateway.metrics import Metrics
from gateway.server.listener import listen
from gateway.server.metrics_reporting import MetricsReporter
from gateway.server.metrics_thread import MetricsThread

ACCEPTED = 'rhopush_pings_accepted_total{ingress="http"}'
IN_FLIGHT = 'rhopush_lane_in_flight{lane="apns"}'
WAIT_S = 30.0


class House:
    """The thread, and workers' sides of it in this process."""

    def __init__(self) -> None:
        self.listener = listen("127.0.0.1", 0)
        self.port = self.listener.getsockname()[1]
        self.log = io.StringIO()
        self.thread = MetricsThread(PlainLog("metrics", self.log), self.listener)
        self.open: list[MetricsReporter] = []

    def channel(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.thread.add(ours)
        return theirs

    def worker(self) -> tuple[Metrics, MetricsReporter]:
        metrics, made = Metrics("1"), MetricsReporter(self.channel(), report_s=3600)
        made.begin(metrics)
        self.open.append(made)
        return metrics, made

    async def scraped(self) -> dict[str, float]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}/metrics") as answer,
        ):
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            return samples(await answer.text())

    async def raw(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer


def samples(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr("gateway.server.metrics_reporting.ANSWER_S", WAIT_S)
    made = House()
    made.thread.start()
    yield made
    for one in made.open:
        one.close()
    made.thread.stop()
    made.thread.join(WAIT_S)
    assert not made.thread.is_alive()
    made.listener.close()
    assert made.log.getvalue() == ""


async def test_a_scrape_has_the_current_counts_of_every_worker(house: House) -> None:
    (one, _), (two, asked) = house.worker(), house.worker()
    one.pings_accepted("http").inc(3)
    two.pings_accepted("http").inc(4)
    one.lane_in_flight("apns").set(1)
    two.lane_in_flight("apns").set(2)
    found = await house.scraped()
    assert (found[ACCEPTED], found[IN_FLIGHT]) == (7, 3)
    one.pings_accepted("http").inc()
    two.pings_accepted("http").inc()
    assert samples((await asked.scrape()).decode())[ACCEPTED] == 9


async def test_a_worker_that_ends_leaves_its_counts_and_not_its_gauges(house: House) -> None:
    (one, ends), (two, _) = house.worker(), house.worker()
    one.pings_accepted("http").inc(3)
    one.lane_in_flight("apns").set(5)
    two.lane_in_flight("apns").set(2)
    ends.close()  # reports for the last time
    found = await house.scraped()
    assert (found[ACCEPTED], found[IN_FLIGHT]) == (3, 2)
    successor, _ = house.worker()
    successor.pings_accepted("http").inc()
    assert (await house.scraped())[ACCEPTED] == 4


async def test_a_stopped_worker_delays_no_scrape(house: House) -> None:
    metrics, asked = house.worker()
    frozen = MetricsReporter(house.channel(), report_s=3600)
    frozen.begin(still := Metrics("1"))
    still.pings_accepted("http").inc(100)
    frozen._loop.remove_reader(frozen._channel)  # it does not answer
    metrics.pings_accepted("http").inc(3)
    assert samples((await asked.scrape()).decode())[ACCEPTED] == 3
    assert (await house.scraped())[ACCEPTED] == 3
    house.open.append(frozen)


async def test_concurrent_scrapes_are_all_answered(house: House) -> None:
    metrics, asked = house.worker()
    metrics.pings_accepted("http").inc(3)
    early = asyncio.gather(*(asked.scrape() for _ in range(50)))
    while not asked._scrapes:
        await asyncio.sleep(0)
    metrics.pings_accepted("http").inc()
    late = await asyncio.gather(*(asked.scrape() for _ in range(50)))
    assert {samples(text.decode())[ACCEPTED] for text in late} == {4}
    assert {samples(text.decode())[ACCEPTED] for text in await early} <= {3, 4}
    assert asked._scrape_number == 2


async def test_a_channel_with_invalid_data_is_closed_and_the_thread_continues(house: House) -> None:
    metrics, _ = house.worker()
    broken = house.channel()
    broken.sendall(b"\0\0\0\x01\xc1")
    broken.setblocking(False)
    assert await asyncio.get_running_loop().sock_recv(broken, 1) == b""
    broken.close()
    metrics.pings_accepted("http").inc(3)
    assert (await house.scraped())[ACCEPTED] == 3
    assert '"metrics_channel_broken"' in house.log.getvalue()
    house.log.truncate(0)
    house.log.seek(0)
