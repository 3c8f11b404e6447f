"""How bulk requests end that are interrupted: by their clients, by time, by a drain."""

import asyncio
import gzip
import json

import pytest
from redis.asyncio import Redis

from gateway.http_api import HttpTimeouts
from gateway.http_api.line_window import BulkLine
from tests.gateway.http_api.harness import WAIT_S, House, house, request, wire
from tests.gateway.http_api.test_bulk import BULK, NDJSON, chunk, lines, numbered, post, stream


async def test_a_half_closed_client_is_answered(api: House) -> None:
    async with stream(api) as client:
        client.send({"user_id": "a"}, {"user_id": "b"})
        client.end()
        client.wire.writer.write_eof()
        await client.head()
        assert (await client.wire.rest()).count(b"ping_id") == 2


@pytest.mark.parametrize("connection", ["keep-alive", None])
async def test_a_response_of_http_1_0_ends_with_its_connection(api: House, connection: str | None) -> None:
    body = lines(*numbered(2))
    headers = {"Content-Type": NDJSON, "Content-Length": str(len(body)), "Connection": connection}
    async with wire(api.port) as old:
        old.send(request(b"", path=BULK, headers=headers).replace(b"HTTP/1.1", b"HTTP/1.0") + body)
        head, _, answer = (await old.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert answer.count(b"ping_id") == 2


async def test_a_drain_ends_a_summary_with_resume_from(api: House) -> None:
    async with stream(api, Prefer="return=minimal") as client:
        client.send({"user_id": "a"}, b"{")
        await api.queue.has(1)
        closing = asyncio.create_task(api.api.close(10.0))
        found = await client.wire.answer()
        await closing
    assert (found.status, found.headers["retry-after"]) == (503, "2")
    assert (found.json["accepted"], found.json["refused"], found.json["resume_from"]) == (1, 1, 3)
    assert found.json["error"]["code"] == "shutting_down"


async def test_a_drain_before_the_first_line_is_an_answer_of_its_own(api: House) -> None:
    async with stream(api) as client:
        async with asyncio.timeout(WAIT_S):
            while not api.services.bodies.reserved:
                await asyncio.sleep(0.01)
        closing = asyncio.create_task(api.api.close(10.0))
        found = await client.wire.answer()
        await closing
    assert (found.status, found.error["code"]) == (503, "shutting_down")


@pytest.mark.parametrize("prefer", [None, "return=minimal"])
async def test_a_truncated_body_ends_with_resume_from(api: House, prefer: str | None) -> None:
    async with stream(api, Prefer=prefer) as client:
        client.send({"user_id": "a"}, {"user_id": "b"})
        await api.queue.has(2)
        client.wire.send(chunk(b'{"user_id": "c"'))
        client.wire.writer.write_eof()
        if prefer:
            found = (await client.wire.answer()).json
            assert (found["accepted"], found["refused"]) == (2, 0)
        else:
            await client.head()
            body = await client.wire.rest()
            assert body.count(b'{"ping_id"') == 2
            found = json.loads(body[body.index(b'{"error"') :].splitlines()[0])
        assert (found["error"]["code"], found["line"], found["resume_from"]) == ("malformed_body", 3, 3)


async def test_an_interrupted_summary_announces_the_end_of_its_connection(api: House) -> None:
    bomb = gzip.compress(lines({"user_id": "a"}) + b" " * 30_000_000)
    status, headers, _ = await post(api, bomb, Content_Encoding="gzip", Prefer="return=minimal")
    assert (status, headers["Connection"]) == (413, "close")


async def test_pings_of_a_disconnected_client_stay_accepted(api: House) -> None:
    api.queue.holding = True
    async with stream(api) as client:
        client.send({"user_id": "a"})
        await api.queue.has(1)
    await asyncio.sleep(0.05)
    api.queue.commit()
    async with asyncio.timeout(WAIT_S):
        while api.services.bodies.reserved:
            await asyncio.sleep(0.01)
    await api.api.close(1.0)
    assert 'rhopush_pings_accepted_total{ingress="http"} 1.0' in api.metrics


async def test_a_defect_in_the_answers_ends_the_request(api: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: BulkLine) -> bytes:
        raise RuntimeError("a defect")

    monkeypatch.setattr(BulkLine, "render", fails)
    async with stream(api) as client:
        client.send({"user_id": "a"}, {"user_id": "b"})
        client.end()
        found = await client.wire.answer()
    assert found.status == 500
    assert 'rhopush_pings_accepted_total{ingress="http"} 2.0' in api.metrics


async def test_answers_to_a_client_that_is_gone_are_no_error(
    api: House, caplog: pytest.LogCaptureFixture
) -> None:
    api.queue.holding = True
    async with stream(api) as client:
        client.send({"user_id": "a"}, {"user_id": "b"})
        client.end()
        await api.queue.has(2)
    await asyncio.sleep(0.05)
    api.queue.commit()
    async with asyncio.timeout(WAIT_S):
        while api.services.bodies.reserved:
            await asyncio.sleep(0.01)
    await api.api.close(1.0)
    assert 'rhopush_pings_accepted_total{ingress="http"} 2.0' in api.metrics
    assert caplog.records == []


async def test_a_client_that_stops_sending_gets_request_timeout(redis_client: Redis) -> None:
    async with house(redis_client, timeouts=HttpTimeouts(stream_s=0.4)) as api, stream(api) as client:
        client.send({"user_id": "a"})
        assert await client.answer() == {"ping_id": "0" * 32}
        last = await client.answer()
        assert last is not None
        assert (last["error"]["code"], last["resume_from"]) == ("request_timeout", 2)
        assert await client.answer() is None
        await client.wire.rest()


async def test_a_client_that_reads_nothing_is_dropped(redis_client: Redis) -> None:
    async with (
        house(redis_client, send_bytes=4096, timeouts=HttpTimeouts(stream_s=0.4)) as api,
        stream(api, receive_bytes=4096) as client,
    ):
        client.wire.read_nothing()

        async def send() -> None:
            while True:
                client.send(*numbered(1000))
                await client.wire.writer.drain()

        async with asyncio.timeout(WAIT_S):
            with pytest.raises(ConnectionError):
                await send()
            while api.services.bodies.reserved:
                await asyncio.sleep(0.01)
    assert api.queue.pings


async def test_slow_progress_is_progress(redis_client: Redis) -> None:
    async with (
        house(redis_client, timeouts=HttpTimeouts(stream_s=1.5, read_s=0.1)) as api,
        stream(api) as client,
    ):
        for number in range(8):  # 2 s in all
            await asyncio.sleep(0.25)
            client.send({"user_id": "a"})
            assert await client.answer() == {"ping_id": f"{number:032x}"}
        client.end()
        assert await client.answer() is None


async def test_a_drain_answers_the_read_lines_and_ends_with_resume_from(api: House) -> None:
    api.queue.holding = True
    async with stream(api) as client:
        client.send({"user_id": "a"}, {"user_id": "b"})
        await api.queue.has(2)
        closing = asyncio.create_task(api.api.close(10.0))
        await asyncio.sleep(0.05)
        client.send({"user_id": "c"})
        await asyncio.sleep(0.05)
        api.queue.commit()
        await client.head()
        body = await client.wire.rest()
        await closing
    assert body.count(b'{"ping_id"') == 2
    last = json.loads(body[body.index(b'{"error"') :].splitlines()[0])
    assert (last["error"]["code"], last["line"], last["resume_from"]) == ("shutting_down", 3, 3)
    assert last["error"]["retry_after_s"]
