"""A worker's reports of its metrics to the supervisor."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator

import pytest

from gateway.errors import MetricsUnavailable
from gateway.logs.plain import PlainLog
from gateway.metrics import Metrics
from gateway.server import metrics_reporting
from gateway.server.metrics_reporting import MetricsReporter
from gateway.server.metrics_thread import MetricsThread
from gateway.telemetry.frames import MetricsReport, frames_from_worker
from tests.gateway.server.test_metrics_thread import WAIT_S, House, samples


@pytest.fixture(autouse=True)
def long_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts with thousands of counts are rendered by a thread of this process."""
    monkeypatch.setattr(metrics_reporting, "ANSWER_S", WAIT_S)


@pytest.fixture
async def house() -> AsyncIterator[House]:
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


async def test_reports_are_sent_without_a_request() -> None:
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


async def test_an_unresponsive_supervisor_is_reported_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_long_report_is_made_in_slices(house: House) -> None:
    metrics, asked = house.worker()
    for number in range(20_000):
        metrics.pings_accepted(f"ingress {number}").inc()
    assert await reported(asked) > 1
    found = samples((await asked.scrape()).decode())
    assert sum(name.startswith("rhopush_pings_accepted_total") for name in found) == 20_000


async def test_a_supervisor_that_reads_nothing_blocks_no_worker() -> None:
    ours, theirs = socket.socketpair()
    metrics, made = Metrics("1"), MetricsReporter(theirs, report_s=3600)
    made.begin(metrics)
    for number in range(3000):  # many times what a channel holds
        metrics.pings_accepted(f"ingress {number} {'x' * 300}").inc()
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
