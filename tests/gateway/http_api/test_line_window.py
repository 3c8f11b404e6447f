"""The window of lines without a written answer."""

import asyncio
import json

import pytest
from redis.asyncio import Redis

from gateway.errors import PossiblyAccepted, QueueFull
from gateway.http_api.line_window import WINDOW_BYTES, WINDOW_LINES, BulkLine, LineWindow
from gateway.queue.append_batch import Accepted
from tests.gateway.http_api.harness import House, house


class Sink:
    def __init__(self) -> None:
        self.calls = 0

    def on_ready(self) -> None:
        self.calls += 1


def opened(api: House) -> tuple[LineWindow, Sink]:
    window, sink = LineWindow(api.services, api.services.metrics.pings_accepted("http")), Sink()
    window.open(sink)
    return window, sink


async def test_answers_leave_in_order_and_only_the_first_tells(api: House) -> None:
    window, sink = opened(api)
    lines = [window.add(number, 10) for number in (1, 2, 4)]
    lines[1].on_outcome(Accepted("b"))
    assert (sink.calls, window.take()) == (0, [])
    lines[0].on_outcome(None)
    assert (sink.calls, window.take()) == (1, lines[:2])
    lines[2].on_outcome(QueueFull("full"))
    assert sink.calls == 2
    (last,) = window.take()
    assert json.loads(last.render()) == {
        "error": {"code": "queue_full", "message": "full", "field": None, "retry_after_s": 2},
        "line": 4,
    }
    assert lines[1].render() == b'{"ping_id":"b"}\n'
    assert 'rhopush_pings_accepted_total{ingress="http"} 2.0' in api.metrics
    assert 'rhopush_pings_refused_total{reason="queue_full"} 1.0' in api.metrics


async def test_lines_count_until_their_answers_are_written(api: House) -> None:
    window, _ = opened(api)
    lines = [window.add(number, 1) for number in range(WINDOW_LINES)]
    waiting = asyncio.create_task(window.room())
    for line in lines:
        line.on_outcome(None)
    taken = window.take()
    await asyncio.sleep(0)
    assert window.full
    assert not waiting.done()
    window.release(taken[:1])
    await waiting
    assert not window.empty
    window.release(taken[1:])
    await window.emptied()
    assert window.empty
    assert (window.peak_lines, window.peak_bytes) == (WINDOW_LINES, WINDOW_LINES)


async def test_bytes_fill_it_too(redis_client: Redis) -> None:
    async with house(redis_client) as api:
        window, _ = opened(api)
        window.add(1, WINDOW_BYTES - 1)
        assert not window.full
        line: BulkLine = window.add(2, 1)
        assert window.full
        assert window.lines[0] is not line


@pytest.mark.parametrize(("other", "shown"), [("", "own"), ("other", "other")])
async def test_a_line_that_was_possibly_accepted_has_the_id_of_its_ping(
    api: House, other: str, shown: str
) -> None:
    window, _ = opened(api)
    line = window.add(1, 10)
    line.ping_id = "own"
    line.on_outcome(PossiblyAccepted("the reply was lost", ping_id=other))
    assert json.loads(line.render())["ping_id"] == shown
