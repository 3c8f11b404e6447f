"""The lane to an external RhoConnect Push server: its requests, and the verdict of each response."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.delivery import rhoconnect_push_remote
from gateway.delivery.batch import Delivery
from gateway.delivery.dead_tokens import IgnoredTokenReports
from gateway.delivery.providers.rhoconnect_push import PROVIDER
from gateway.delivery.rhoconnect_push_remote import RemoteRhoConnectPushLane, read_push_server
from gateway.delivery.route import TokenScope
from gateway.errors import BadSetting
from gateway.metrics import Metrics
from gateway.settings import RetrySettings, Secret
from protocols.verdict import Verdict, VerdictKind
from tests.gateway.delivery.test_rhoconnect_push_builtin import Batch, lane_gauge
from tests.support.ports import free_port, unanswering_port


class Outside:
    """A push service that answers as it is told, by the token in the path."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        kept = {name: request.headers.get(name, "") for name in ("Content-Type", "Authorization")}
        self.requests.append((request.raw_path, kept, await request.read()))
        status = request.match_info["token"].rpartition("-")[2]
        if status == "endless":
            response = web.StreamResponse(headers={"Content-Encoding": "gzip"})
            await response.prepare(request)
            while True:
                await response.write(b"x" * 10_000)
        headers = {"Retry-After": "40"} if status in ("429", "503") else {}
        return web.Response(status=int(status) if status.isdecimal() else 204, headers=headers)


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    service = Outside()
    app = web.Application()
    app.router.add_post("/messageQueue/{token}", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.port = runner.addresses[0][1]
    yield service
    await runner.cleanup()


def client_lane(port: int, dead: list[str] | None = None) -> RemoteRhoConnectPushLane:
    class Heard(IgnoredTokenReports):
        def on_dead_token(
            self, delivery: Delivery, verdict: Verdict, token_scope: TokenScope, others: tuple[str, ...] = ()
        ) -> None:
            if dead is not None:
                dead.append(delivery.device.pin)

    url = Secret(f"http://some%40app:pw@127.0.0.1:{port}/lost/path")
    return RemoteRhoConnectPushLane(PROVIDER, url, RetrySettings(), Metrics(), Heard())


async def test_the_request_is_rhoconnects(outside: Outside) -> None:
    lane = client_lane(outside.port)
    batch = Batch("uuid:0a", "a/b c?d%2F", badge=5, sound="s", vibrate=10, sources=("A", "B"))
    assert await batch.through(lane) == {}
    await lane.close(1.0)
    paths = sorted(path for path, _, _ in outside.requests)
    assert paths == ["/messageQueue/a%2Fb%20c%3Fd%252F", "/messageQueue/uuid:0a"]
    _, headers, body = outside.requests[0]
    assert headers == {"Content-Type": "application/json", "Authorization": "Basic c29tZUBhcHA6cHc="}
    assert body == (
        b'{"collapseId":5,"data":{"alert":"hello","sound":"s","vibrate":"10","do_sync":["A","B"]}}'
    )


@pytest.mark.parametrize(
    ("status", "fate", "dead"),
    [
        (200, None, False),
        (204, None, False),
        (400, (VerdictKind.REJECTED, "InvalidRequest"), False),
        (401, (VerdictKind.LATER, "Unauthorized"), False),
        (403, (VerdictKind.REJECTED, "Forbidden"), False),
        (404, (VerdictKind.REJECTED, "NotRegistered"), True),
        (410, (VerdictKind.REJECTED, "NotRegistered"), True),
        (413, (VerdictKind.REJECTED, "PayloadTooLarge"), False),
        (500, (VerdictKind.LATER, "HTTP 500"), False),
        (503, (VerdictKind.LATER, "HTTP 503"), False),
    ],
)
async def test_every_answer_is_a_verdict(
    outside: Outside, status: int, fate: tuple[VerdictKind, str] | None, dead: bool
) -> None:
    buried: list[str] = []
    lane = client_lane(outside.port, buried)
    batch = Batch(f"tok-{status}")
    assert await batch.through(lane) == ({} if fate is None else {0: fate})
    assert buried == ([f"tok-{status}"] if dead else [])
    assert (0 in batch.batch.postponed) is (fate is not None and fate[0] is VerdictKind.LATER)
    await lane.close(1.0)


async def test_an_endless_answer_is_cut(outside: Outside) -> None:
    lane = client_lane(outside.port)
    batch = Batch("tok-endless", "tok-200")
    assert await batch.through(lane) == {}
    assert not batch.batch.postponed
    await lane.close(1.0)


async def test_an_unexpected_error_ends_no_worker_of_the_lane(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = client_lane(outside.port)

    def fail(*_: object) -> None:
        raise KeyError("a defect")

    with monkeypatch.context() as broken:
        broken.setattr(lane, "_on_response", fail)
        batch = Batch(*(f"tok-x{number}" for number in range(10)))
        assert set((await batch.through(lane)).values()) == {(VerdictKind.REJECTED, "internal")}
    assert await Batch("tok-200").through(lane) == {}
    await lane.close(1.0)


async def test_an_unreachable_server_is_reported_and_deliveries_are_parked() -> None:
    lane = client_lane(port := free_port())
    batch = Batch("tok-1", "tok-2")
    lane.offer(batch.deliveries, bulk=False)
    async with asyncio.timeout(30):
        while not batch.settled.is_set():
            lane.sweep()
            await asyncio.sleep(0.05)
    assert lane.error_text is not None
    assert lane_gauge(lane, "down") == 1
    assert {later.parked_in for later in batch.batch.postponed.values()} == {lane.name}
    with capture_logs() as logs:  # nothing more is offered
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        async with asyncio.timeout(30):
            while lane.error_text is not None:
                await asyncio.sleep(0.01)
                lane.sweep()
        assert lane_gauge(lane, "down") == 0
        server.close()
        await server.wait_closed()
    assert [(line["event"], line["lane"]) for line in logs] == [("lane_up", lane.name)]
    await lane.close(1.0)


async def test_a_server_that_accepts_no_connection_counts_as_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rhoconnect_push_remote, "_CONNECT_S", 0.2)
    with unanswering_port() as port:
        lane = client_lane(port)
        batch = Batch("tok-1", "tok-2")
        lane.offer(batch.deliveries, bulk=False)
        async with asyncio.timeout(30):
            while not batch.settled.is_set():
                lane.sweep()
                await asyncio.sleep(0.05)
        assert (lane.error_text, lane_gauge(lane, "down")) == ("timed out", 1)
        # No attempt counts, since no request was sent.
        assert {(later.parked_in, later.attempt) for later in batch.batch.postponed.values()} == {
            (lane.name, 0)
        }
        await lane.close(1.0)


async def test_a_429_pauses_the_lane(outside: Outside) -> None:
    lane = client_lane(outside.port)
    refused = Batch("tok-429")
    assert await refused.through(lane) == {0: (VerdictKind.LATER, "TooManyRequests")}
    waiting = Batch("tok-a")
    lane.offer(waiting.deliveries, bulk=False)
    for _ in range(2):
        lane.sweep()
        await asyncio.sleep(0.01)
    assert (lane.backlog, len(outside.requests), lane_gauge(lane, "throttled")) == (1, 1, 1)
    assert lane._throttle.left_s(time.monotonic()) > 30
    lane._throttle = lane._throttle._replace(until_s=0.0)
    lane.sweep()
    async with asyncio.timeout(30):
        await waiting.settled.wait()
    assert waiting.batch.other_verdicts == {}
    await lane.close(1.0)


async def test_while_verdicts_cannot_be_recorded_nothing_is_posted(outside: Outside) -> None:
    lane = client_lane(outside.port)
    lane.unsaved.stalled = True
    batch = Batch("tok-a")
    lane.offer(batch.deliveries, bulk=False)
    for _ in range(5):
        lane.sweep()
        await asyncio.sleep(0.01)
    assert (outside.requests, lane.backlog) == ([], 1)
    lane.unsaved.stalled = False
    lane.wake()
    async with asyncio.timeout(30):
        await batch.settled.wait()
    lane.sweep()
    assert lane_gauge(lane, "unsaved") == 1
    await lane.close(1.0)


async def test_a_retired_lane_hands_over_its_deliveries_and_clears_its_gauges(outside: Outside) -> None:
    lane, successor = client_lane(free_port()), client_lane(outside.port)
    lane.unsaved.stalled = True  # so that all of it waits
    batch = Batch("tok-a", "tok-b")
    batch.route.lane = lane
    lane.offer(batch.deliveries, bulk=False)
    lane._breaker = lane._breaker.after_refusal("refused", 0.0)
    lane.sweep()
    assert lane_gauge(lane, "breaker_open") == 1
    await lane.retire(successor)
    lane.clear_metrics()
    async with asyncio.timeout(30):
        await batch.settled.wait()
    assert {
        lane_gauge(lane, name) for name in ("breaker_open", "down", "in_flight", "throttled", "unsaved")
    } == {0}
    await successor.close(1.0)


@pytest.mark.parametrize("url", ["localhost:8675", "ftp://h/", "http://", "http://h:port/"])
def test_a_push_server_must_be_a_url(url: str) -> None:
    with pytest.raises(BadSetting, match="push_server"):
        read_push_server(Secret(url))


def test_the_credentials_of_a_push_server_are_not_in_the_lanes_name() -> None:
    origin, authorization = read_push_server(Secret("https://app@[::1]:8675/x"))
    assert (origin, authorization) == ("https://[::1]:8675", "Basic YXBwOg==")
