"""The supervisor's metrics thread with real channels, and its listener with real and hostile clients."""

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from gateway.errors import MetricsUnavailable
from gateway.logs.plain import PlainLog
from gateway.metrics import Metrics
from gateway.server import metrics_http, metrics_reporting
from gateway.server.listener import listen
from gateway.server.metrics_http import CONNECTIONS_MAX, HEAD_BYTES_MAX, request_of
from gateway.server.metrics_reporting import MetricsReporter
from gateway.server.metrics_thread import MetricsThread
from gateway.telemetry.frames import MetricsReport, frames_from_worker
from protocols.response_headers import SAFETY_HEADERS

ACCEPTED = 'rhopush_pings_accepted_total{ingress="http"}'
IN_FLIGHT = 'rhopush_lane_in_flight{lane="apns"}'


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
async def house() -> AsyncIterator[House]:
    made = House()
    made.thread.start()
    yield made
    for one in made.open:
        one.close()
    made.thread.stop()
    assert not made.thread.is_alive()
    made.listener.close()
    assert made.log.getvalue() == ""


async def test_a_scrape_holds_what_every_worker_has_counted_until_then(house: House) -> None:
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


async def test_a_worker_that_ends_leaves_its_counts_and_takes_its_gauges(house: House) -> None:
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


async def test_reports_come_without_being_asked_for() -> None:
    """A worker that is killed loses at most what it counted since its last report."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    made = MetricsReporter(theirs, report_s=0.01)
    made.begin(metrics := Metrics("1"))
    metrics.pings_accepted("http").inc(3)
    frames, found = frames_from_worker(), dict[tuple[str, tuple[str, ...]], tuple[float, ...]]()
    while ("rhopush_pings_accepted", ("http",)) not in found:
        for frame in frames.feed(await asyncio.get_running_loop().sock_recv(ours, 65_536)):
            assert isinstance(frame, MetricsReport)
            found |= {(name, labels): numbers for name, labels, numbers in frame.changes}
    assert found["rhopush_pings_accepted", ("http",)] == (3,)
    made.close()
    ours.close()


async def test_a_worker_that_stands_still_holds_no_scrape(house: House) -> None:
    metrics, asked = house.worker()
    frozen = MetricsReporter(house.channel(), report_s=3600)
    frozen.begin(still := Metrics("1"))
    still.pings_accepted("http").inc(100)
    frozen._loop.remove_reader(frozen._channel)  # it does not answer
    metrics.pings_accepted("http").inc(3)
    assert samples((await asked.scrape()).decode())[ACCEPTED] == 3
    assert (await house.scraped())[ACCEPTED] == 3
    house.open.append(frozen)


async def test_many_scrapes_at_once_are_all_answered(house: House) -> None:
    metrics, asked = house.worker()
    metrics.pings_accepted("http").inc(3)
    texts = await asyncio.gather(*(asked.scrape() for _ in range(50)))
    assert {samples(text.decode())[ACCEPTED] for text in texts} == {3}


async def test_a_supervisor_that_does_not_answer_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_reporting, "ANSWER_S", 0.01)
    ours, theirs = socket.socketpair()
    made = MetricsReporter(theirs, report_s=3600)
    made.begin(Metrics("1"))
    with pytest.raises(MetricsUnavailable):
        await made.scrape()
    made.close()
    ours.close()


async def reported(made: MetricsReporter) -> int:
    """Have a report made; the turns of the loop that it took."""
    made._report()
    scheduler = 0
    while made._walk is not None:
        await asyncio.sleep(0)
        scheduler += 1
    return scheduler


async def test_a_long_report_is_made_in_turns_of_the_loop(house: House) -> None:
    metrics, asked = house.worker()
    for number in range(20_000):
        metrics.pings_accepted(f"door {number}").inc()
    assert await reported(asked) > 1
    found = samples((await asked.scrape()).decode())
    assert sum(name.startswith("rhopush_pings_accepted_total") for name in found) == 20_000


async def test_a_supervisor_that_reads_nothing_holds_no_worker() -> None:
    ours, theirs = socket.socketpair()
    metrics, made = Metrics("1"), MetricsReporter(theirs, report_s=3600)
    made.begin(metrics)
    for number in range(3000):  # many times what a channel holds
        metrics.pings_accepted(f"door {number} {'x' * 300}").inc()
        if number % 100 == 0:
            await reported(made)
    assert 0 < len(made._unsent) < 1_000_000
    thread = MetricsThread(PlainLog("metrics", io.StringIO()))
    thread.add(ours)
    thread.start()
    found = samples((await made.scrape()).decode())  # nothing of what was counted is lost
    assert sum(name.startswith("rhopush_pings_accepted_total") for name in found) >= 1
    found = samples((await made.scrape()).decode())
    assert sum(name.startswith("rhopush_pings_accepted_total") for name in found) == 3000
    made.close()
    thread.stop()


async def test_a_channel_with_anything_else_on_it_is_closed_and_the_thread_goes_on(house: House) -> None:
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


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405 Method Not Allowed"),
        (b"GET /rc/v1/users HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX * 2, b"431 Request Header Fields Too Large"),
    ],
)
async def test_the_listener_answers_one_request_a_connection(
    house: House, request_: bytes, status: bytes
) -> None:
    head, _, body = (await house.raw(request_)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert (body == b"") == request_.startswith(b"HEAD")
    assert (b"Allow: GET, HEAD" in head) == (b"405" in status)
    for name, value in SAFETY_HEADERS:
        assert f"\r\n{name}: {value}\r\n".encode() in head


async def test_a_head_may_come_byte_by_byte(house: House) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    for byte in b"GET /metrics HTTP/1.1\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_connections_without_a_request_keep_no_scraper_out(house: House) -> None:
    async with contextlib.AsyncExitStack() as held:
        slow = []
        for _ in range(CONNECTIONS_MAX + 5):
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(b"GET /met")
            await writer.drain()
            held.callback(writer.close)
            slow.append(reader)
        assert await house.scraped()
        for reader in slow[:5]:  # the oldest made room
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""


async def test_a_head_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_http.ScrapeStage.HEAD, "_value_", 0.0)
    made = House()
    made.thread.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()
    made.thread.stop()
    made.listener.close()


async def test_a_client_that_takes_no_answer_is_not_waited_for(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_http.ScrapeStage.ANSWER, "_value_", 0.0)
    metrics, _ = house.worker()
    for number in range(20_000):  # more than the buffers of a connection hold
        metrics.pings_accepted(f"door {number} {'x' * 300}")
    with socket.create_connection(("127.0.0.1", house.port)) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        lazy.setblocking(False)
        loop, read = asyncio.get_running_loop(), 0
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(lazy, 1):
                read += len(data)
        assert read < 20_000 * 300


def test_request_lines() -> None:
    assert request_of(b"GET /metrics HTTP/1.1") == ("GET", "200 OK")
    assert request_of(b"GET  /metrics HTTP/1.1")[1] == "400 Bad Request"
    assert request_of(b"GET /metrics/ HTTP/1.1")[1] == "404 Not Found"
    assert request_of(b"get /metrics HTTP/1.1")[1] == "405 Method Not Allowed"
