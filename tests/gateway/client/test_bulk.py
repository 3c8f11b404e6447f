"""`PingJob.bulk` and `PingJob.abulk` against a running gateway, and against a server that breaks off."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.client import PingError, PingJob
from gateway.client.bulk import WINDOW
from gateway.errors import QueueFull
from tests.gateway.client.resetting_server import resetting
from tests.gateway.http_api.harness import TOKEN, WAIT_S, House, house


@pytest.fixture
async def api(redis_client: Redis) -> AsyncIterator[House]:
    async with house(redis_client) as found:
        with configured(found.port):
            yield found


@contextmanager
def configured(port: int, *, token: str = TOKEN, timeout_s: float = 30.0) -> Iterator[None]:
    PingJob.configure(server=f"http://127.0.0.1:{port}", token=token, timeout_s=timeout_s)
    yield
    PingJob.configure()


async def test_results_come_in_order(api: House) -> None:
    results = [result async for result in PingJob.abulk({"user_id": f"user{n}"} for n in range(5_000))]
    assert [result.line for result in results] == list(range(1, 5_001))
    assert [result.ping_id for result in results] == [f"{number:032x}" for number in range(5_000)]
    assert len(set(api.queue.keys)) == 5_000


async def test_a_refused_line_is_a_result(api: House) -> None:
    results = [
        result
        async for result in PingJob.abulk([{"user_id": "a"}, {"badge": -1}, b"{", "", {"user_id": "b"}])
    ]
    assert [(one.line, one.code, one.field) for one in results] == [
        (1, "", None),
        (2, "invalid_field", "badge"),
        (3, "malformed_body", None),
        (5, "", None),
    ]


async def test_an_asynchronous_iterable_is_answered_before_it_ends(api: House) -> None:
    heard = asyncio.Event()

    async def pings() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            yield {"user_id": f"user{number}"}
            await heard.wait()
            heard.clear()

    found = []
    async for result in PingJob.abulk(pings()):
        found.append(result.line)
        heard.set()
    assert found == [1, 2, 3]


async def test_the_window_bounds_the_items_read_ahead(api: House) -> None:
    read = 0

    def pings() -> Iterator[dict[str, Any]]:
        nonlocal read
        while True:
            read += 1
            yield {"user_id": "a"}

    results = PingJob.abulk(pings())
    for count in range(1, 3 * WINDOW):
        await anext(results)
        assert read <= count + 2 * WINDOW
    await results.aclose()


async def test_an_error_of_the_iterable_follows_the_results_before_it(api: House) -> None:
    def pings() -> Iterator[dict[str, Any]]:
        yield {"user_id": "a"}
        raise ZeroDivisionError

    results = PingJob.abulk(pings())
    assert (await anext(results)).line == 1
    with pytest.raises(ZeroDivisionError):
        await anext(results)


async def test_bulk_is_a_plain_generator(api: House) -> None:
    def run() -> list[int]:
        return [result.line for result in PingJob.bulk({"user_id": f"user{n}"} for n in range(2_500))]

    assert await asyncio.to_thread(run) == list(range(1, 2_501))


async def test_a_plain_iterable_may_block_behind_any_line(api: House) -> None:
    """Standard input blocks: the lines before reach the gateway, although the client's event loop stands still."""
    arrived = [threading.Event() for _ in range(2)]

    def pings() -> Iterator[dict[str, Any]]:
        yield {"badge": 1}
        assert arrived[0].wait(WAIT_S)
        yield {"badge": 2}
        yield {"badge": 3}
        assert arrived[1].wait(WAIT_S)

    found = asyncio.create_task(asyncio.to_thread(lambda: list(PingJob.bulk(pings()))))
    for count, event in zip((1, 3), arrived, strict=True):
        await api.queue.has(count)
        event.set()
    assert [result.line for result in await found] == [1, 2, 3]


async def test_lines_are_sent_again_once_the_queue_has_room(api: House) -> None:
    api.queue.failure = QueueFull("full")
    found = asyncio.create_task(_all([{"user_id": "a", "idempotency_key": "k"}]))
    await api.queue.has(1)
    api.queue.failure = None
    (result,) = await found
    assert result.ping_id
    assert api.queue.keys[0] == api.queue.keys[-1]


async def test_a_refused_request_is_an_error(redis_client: Redis) -> None:
    async with house(redis_client) as api:
        with configured(api.port, token="wrong"):
            with pytest.raises(PingError) as refused:
                await _all([{"user_id": "a"}])
            assert refused.value.refused_with == 422


async def test_an_unreachable_server_is_an_error() -> None:
    with configured(1, timeout_s=0.3), pytest.raises(PingError, match="cannot be reached"):
        await _all([{"user_id": "a"}])


class Breaking:
    """A server that accepts by key, and ends each response after some lines, in one of several ways."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.first: dict[str, int] = {}
        self.requests = 0

    async def pings(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        answer = web.StreamResponse()
        await answer.prepare(request)
        number = 0
        async for line in request.content:
            number += 1
            key = json.loads(line)["idempotency_key"]
            ping = self.first.setdefault(key, len(self.first))
            if number == 30:
                if self.how == "lost":
                    assert request.transport is not None
                    request.transport.abort()
                elif self.how == "drain":
                    error = {"code": "shutting_down", "message": "", "field": None, "retry_after_s": 0.01}
                    del self.first[key]
                    ended = {"error": error, "line": number, "resume_from": number}
                    await answer.write(json.dumps(ended).encode() + b"\n")
                return answer
            await answer.write(b'{"ping_id":"%d"}\n' % ping)
        return answer


@asynccontextmanager
async def serving(server: "Breaking | Busy | Full | Patient", timeout_s: float = 30.0) -> AsyncIterator[None]:
    app = web.Application(client_max_size=0)
    app.router.add_post("/rc/v1/pings", server.pings)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    with configured(runner.addresses[0][1], timeout_s=timeout_s):
        yield
    await runner.cleanup()


@asynccontextmanager
async def breaking(how: str) -> AsyncIterator[Breaking]:
    server = Breaking(how)
    async with serving(server):
        yield server


@pytest.mark.parametrize("how", ["lost", "short", "drain"])
async def test_an_interrupted_stream_continues_without_duplicates(how: str) -> None:
    async with breaking(how) as server:
        results = await _all({"user_id": f"user{n}"} for n in range(100))
    assert [result.line for result in results] == list(range(1, 101))
    assert [result.ping_id for result in results] == [str(number) for number in range(100)]
    assert server.requests > 3


@pytest.mark.parametrize("begun", [True, False], ids=["within-the-response", "before-the-response"])
async def test_a_connection_that_is_lost_while_the_last_lines_are_sent_is_replaced(begun: bool) -> None:
    """The client finds the loss when it writes the last line and the end of the body, in one turn of its event loop."""
    answered = asyncio.Event()

    async def pings() -> AsyncIterator[dict[str, Any]]:
        yield {"badge": 1}
        await (answered.wait() if begun else asyncio.to_thread(server.arrived.wait, WAIT_S))
        server.reset()
        yield {"badge": 2}

    results = []
    with resetting(answers=begun) as server, configured(server.port):
        async for result in PingJob.abulk(pings()):
            results.append(result.ping_id)
            answered.set()
    assert results == ["1", "2"]


class Busy:
    """A server that refuses the first line of the first request for now, and records the lines of each request."""

    def __init__(self) -> None:
        self.requests: list[list[int]] = []
        self.refused = asyncio.Event()

    async def pings(self, request: web.Request) -> web.StreamResponse:
        lines: list[int] = []
        self.requests.append(lines)
        answer = web.StreamResponse()
        await answer.prepare(request)
        async for line in request.content:
            lines.append(json.loads(line)["badge"])
            if not self.refused.is_set():
                error = {"code": "busy", "message": "", "field": None, "retry_after_s": 0.01}
                await answer.write(json.dumps({"error": error, "line": 1}).encode() + b"\n")
                self.refused.set()
            else:
                await answer.write(b'{"ping_id":"%d"}\n' % lines[-1])
        return answer


async def test_no_line_follows_a_temporarily_refused_line() -> None:
    server = Busy()

    async def pings() -> AsyncIterator[dict[str, Any]]:
        yield {"user_id": "a", "badge": 1}
        await server.refused.wait()
        await asyncio.sleep(0.1)
        yield {"user_id": "a", "badge": 2}

    async with serving(server):
        results = await _all(pings())
    assert [result.ping_id for result in results] == ["1", "2"]
    assert server.requests[0] == [1]


class Full:
    """A server that refuses every request for now."""

    def __init__(self, pause_s: int) -> None:
        self.pause_s = pause_s
        self.requests = 0

    async def pings(self, _: web.Request) -> web.StreamResponse:
        self.requests += 1
        return web.json_response(
            {"error": {"code": "queue_full", "message": "full"}},
            status=503,
            headers={"Retry-After": str(self.pause_s)},
        )


@pytest.mark.parametrize("pause_s", [1, 3600])
async def test_no_request_follows_a_pause_in_which_the_time_limit_of_a_result_passes(pause_s: int) -> None:
    server = Full(pause_s)
    async with serving(server, timeout_s=0.5):
        with pytest.raises(PingError, match=r"accepted no line for 0\.5 s: "):
            await _all([{"user_id": "a"}])
    assert server.requests == 1


class Patient:
    """A server that answers each line, and waits for the next one without end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def pings(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            async for line in request.content:
                await answer.write(b'{"ping_id":"%d"}\n' % json.loads(line)["badge"])
        finally:
            self.ended.set()
        return answer


async def test_an_iterable_may_pause_for_longer_than_the_time_limit_of_a_result() -> None:
    server = Patient()

    async def pings() -> AsyncIterator[dict[str, Any]]:
        yield {"badge": 1}
        await server.ended.wait()  # nothing came for so long that the client ended the request
        yield {"badge": 2}

    async with serving(server, timeout_s=1.0):
        results = await _all(pings())
    assert [result.ping_id for result in results] == ["1", "2"]


@pytest.mark.parametrize("server", ["127.0.0.1:9292", "http://", "http://127.0.0.1:99999", "http://[::1"])
async def test_a_server_that_is_no_url_is_refused_at_once(server: str) -> None:
    PingJob.configure(server=server, token=TOKEN)
    try:
        with pytest.raises(PingError, match="must be an http or https URL"):
            await _all([{"user_id": "a"}])
        with pytest.raises(PingError, match="must be an http or https URL"):
            await PingJob.acancel("0" * 32)
    finally:
        PingJob.configure()


async def test_an_error_does_not_contain_the_password_of_the_url() -> None:
    PingJob.configure(server="http://ann:secret@127.0.0.1:1", token=TOKEN, timeout_s=0.2)
    try:
        for failing in (_all([{"user_id": "a"}]), PingJob.acancel("0" * 32), PingJob.aperform(user_id="a")):
            with pytest.raises(PingError) as failed:
                await failing
            assert "secret" not in str(failed.value)
    finally:
        PingJob.configure()


async def _all(pings: Any) -> list[Any]:
    return [result async for result in PingJob.abulk(pings)]
