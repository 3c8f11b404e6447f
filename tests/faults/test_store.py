"""Redis that loses a reply, is unreachable, is flushed or full: 200 and 503 are correct, and no ping is duplicated."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.queue.consumer import Streams
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store.address import RedisAddress
from gateway.store.client_factory import COMMAND_TIMEOUT_S
from gateway.store.connection import RedisConnection
from protocols.ping.model import Ping
from tests.support.providers import provider_settings
from tests.support.proxy import Proxy
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker import Worker, working

PIN = "ab" * 32
APPEND = b"{q}:append:"
"""The name of an append's marker, which no other command of the ingress contains."""


class Stage(NamedTuple):
    """A worker between callers and a store that can fail."""

    worker: Worker
    apns: ApnsSimulator
    store: RedisServer
    proxy: Proxy


@asynccontextmanager
async def staged(folder: Path, kind: str, **settings: Any) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        store = stack.enter_context(RedisServer(kind, persist=True, options={"appendfsync": "always"}))
        async with store_client(store.socket) as redis:
            await lay_user(redis, "bob", [apple(PIN)])
        proxy = await stack.enter_async_context(Proxy(store.socket))
        apns = await stack.enter_async_context(ApnsSimulator())
        fcm = await stack.enter_async_context(FcmSimulator())
        said = provider_settings(apns, fcm, drain_s=2, **settings)
        worker = await stack.enter_async_context(working(folder, proxy.address, said))
        yield Stage(worker, apns, store, proxy)


@pytest.fixture(params=KINDS)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, request.param) as found:
        # The connection is open and the scripts are cached, so that the later loss affects the append itself.
        await found.worker.done(await found.worker.accepted("bob", message="warm"))
        found.apns.received.clear()
        yield found


async def ready(worker: Worker, *, status: int) -> dict[str, Any]:
    """Wait until /readyz answers with this status."""
    async with asyncio.timeout(20):
        while (answer := await worker.request("GET", "/readyz")).status != status:
            await asyncio.sleep(0.05)
    found: dict[str, Any] = answer.json()
    return found


async def accepted_again(stage: Stage, message: str) -> str:
    """Ping until Redis can be reached again, and return the ping's id."""
    async with asyncio.timeout(20):
        while (answer := await stage.worker.ping("bob", message=message)).status != 200:
            assert answer.json()["error"]["code"] == "store_unavailable"
            await asyncio.sleep(0.05)
    return answer.ping_id


def alerts(stage: Stage) -> list[str | None]:
    return [record.summary.alert for record in stage.apns.received.accepted]


# An append whose reply is lost.


@pytest.mark.parametrize("request_too", [False, True], ids=["reply", "request"])
async def test_the_outcome_of_a_lost_append_is_read_from_its_marker(stage: Stage, request_too: bool) -> None:
    stage.proxy.lose(APPEND, request_too=request_too)
    ping_id = await stage.worker.accepted("bob", message="once")
    assert stage.proxy.struck.is_set()
    await stage.worker.done(ping_id)
    # If it had been appended twice, the second would be delivered before this one.
    await stage.worker.done(await stage.worker.accepted("bob", message="after"))
    assert alerts(stage) == ["once", "after"]


async def test_an_unresponsive_connection_is_closed_and_its_append_determined(stage: Stage) -> None:
    stage.proxy.lose(APPEND, cut=False)
    await stage.worker.done(await stage.worker.accepted("bob", message="once"))
    await stage.worker.done(await stage.worker.accepted("bob", message="after"))
    assert stage.proxy.struck.is_set()
    assert alerts(stage) == ["once", "after"]


async def test_while_a_lost_append_is_resolved_each_answer_is_correct(stage: Stage) -> None:
    stage.proxy.lose(APPEND)
    answers = await asyncio.gather(*(stage.worker.ping("bob", message=f"ping {n}") for n in range(20)))
    promised = {f"ping {n}": answer.ping_id for n, answer in enumerate(answers) if answer.status == 200}
    assert promised
    assert {answer.status for answer in answers} <= {200, 503}
    for ping_id in (*promised.values(), await accepted_again(stage, "after")):
        await stage.worker.done(ping_id)
    assert sorted(map(str, alerts(stage))) == sorted([*promised, "after"])


@pytest.mark.parametrize(("request_too", "times"), [(False, 1), (True, 0)], ids=["reply", "request"])
async def test_an_undetermined_append_is_503_with_its_id(
    stage: Stage, request_too: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.queue.producer.RESOLVE_S", 0.3)
    stage.proxy.lose(APPEND, request_too=request_too, back=False)
    answer = await stage.worker.ping("bob", message="perhaps")
    assert (answer.status, answer.json()["error"]["code"]) == (503, "possibly_accepted")
    assert int(answer.headers["Retry-After"]) > 0
    await stage.proxy.restore()
    await stage.worker.done(await accepted_again(stage, "after"))
    if times:
        await stage.worker.done(answer.ping_id)
    else:
        asked = await stage.worker.request("GET", f"/rc/v1/pings/{answer.ping_id}")
        assert asked.status == 404
    assert alerts(stage).count("perhaps") == times


async def test_a_ping_whose_append_was_prevented_is_not_reported_as_queued(stage: Stage) -> None:
    """Reading the marker forbids the append; the reply to that read can be lost too."""
    stage.proxy.lose(APPEND)
    await stage.worker.accepted("bob", message="the script that reads the marker is cached now")
    stage.proxy.lose(APPEND, request_too=True)
    caller = asyncio.create_task(stage.worker.ping("bob", message="never"))
    await stage.proxy.struck.wait()
    stage.proxy.lose(APPEND, back=False)
    answer = await caller
    assert answer.json()["error"]["code"] == "possibly_accepted"
    await stage.proxy.restore()
    await stage.worker.done(await accepted_again(stage, "after"))
    asked = await stage.worker.request("GET", f"/rc/v1/pings/{answer.ping_id}")
    assert asked.status == 404


# No Redis.


async def test_without_redis_the_ingress_answers_503_and_recovers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.queue.producer.RESOLVE_S", 0.5)
    stage.store.kill()
    refused = await stage.worker.ping("bob", message="lost")
    assert (refused.status, refused.json()["error"]["code"]) in {
        (503, "store_unavailable"),
        (503, "possibly_accepted"),
    }
    assert int(refused.headers["Retry-After"]) > 0
    assert "redis" in str(await ready(stage.worker, status=503))
    alive = await stage.worker.request("GET", "/healthz")
    assert alive.status == 200
    stage.store.start()
    await ready(stage.worker, status=200)
    await stage.worker.done(await accepted_again(stage, "after"))
    assert alerts(stage) == ["after"]


async def test_an_unresponsive_redis_delays_a_caller_less_than_the_longest_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.server.worker.HTTP_TIMEOUT_S", 0.2)
    async with staged(tmp_path, "valkey") as stage:
        await stage.worker.done(await stage.worker.accepted("bob", message="before"))
        stage.store.freeze()
        async with asyncio.timeout(COMMAND_TIMEOUT_S / 2):
            refused = await stage.worker.request("GET", "/rc/v1/users")
        assert (refused.status, refused.json()["error"]["code"]) == (503, "store_unavailable")
        stage.store.thaw()
        await stage.worker.done(await accepted_again(stage, "after"))


async def test_verdicts_during_an_outage_of_redis_are_written_afterwards(stage: Stage) -> None:
    stage.apns.hold()
    ping_id = await stage.worker.accepted("bob", message="once")
    await stage.apns.received.wait(1)
    stage.store.kill()
    stage.apns.release()
    stage.store.start()
    report = await stage.worker.done(ping_id)
    assert report["counts"]["accepted"] == 1
    assert alerts(stage) == ["once"]


async def test_a_flushed_store_is_used_immediately(stage: Stage) -> None:
    async with store_client(stage.store.socket) as redis:
        await redis.flushall()
        await redis.script_flush()
        unknown = await stage.worker.done(await stage.worker.accepted("bob", message="nobody"))
        assert unknown["skipped"] == {"unknown_user": 1}
        await lay_user(redis, "bob", [apple(PIN)])
        await stage.worker.done(await stage.worker.accepted("bob", message="after"))
    assert alerts(stage) == ["after"]


async def test_a_flush_under_load_loses_no_later_ping(stage: Stage) -> None:
    async with store_client(stage.store.socket) as redis:
        stage.apns.hold()
        await asyncio.gather(*(stage.worker.accepted("bob", message="before") for _ in range(10)))
        await stage.apns.received.wait(10)
        await redis.flushall()
        await lay_user(redis, "bob", [apple(PIN)])
        stage.apns.release()
        ids = [await stage.worker.accepted("bob", message=f"after {n}") for n in range(10)]
        for ping_id in ids:
            assert (await stage.worker.done(ping_id))["counts"]["accepted"] == 1
    assert alerts(stage).count("after 9") == 1


# A full queue.


@pytest.mark.parametrize("limit", [{"queue_pings": 3}, {"queue_bytes": 3 * 60}], ids=["pings", "bytes"])
async def test_a_full_queue_answers_503_until_there_is_room(
    tmp_path: Path, limit: dict[str, int], size_of: Callable[[str], int]
) -> None:
    if "queue_bytes" in limit:
        limit = {"queue_bytes": 3 * size_of("ping 0")}
    async with staged(tmp_path, "valkey", limits=limit) as stage:
        stage.apns.hold()
        first = [await stage.worker.accepted("bob", message=f"ping {n}") for n in range(3)]
        for _ in range(2):
            refused = await stage.worker.ping("bob", message="ping 3")
            assert (refused.status, refused.json()["error"]["code"]) == (503, "queue_full")
            assert int(refused.headers["Retry-After"]) > 0
        stage.apns.release()
        for ping_id in first:
            await stage.worker.done(ping_id)
        await stage.worker.done(await stage.worker.accepted("bob", message="ping 4"))
        assert sorted(map(str, alerts(stage))) == ["ping 0", "ping 1", "ping 2", "ping 4"]


@pytest.fixture
def size_of() -> Callable[[str], int]:
    """The length of the body that `Worker.ping` sends for a message."""
    return lambda message: len(json.dumps({"user_id": "bob", "message": message}))


# A full Redis, and a worker that starts.


async def _apart(
    stack: AsyncExitStack, kind: str
) -> tuple[RedisServer, Redis, ApnsSimulator, dict[str, Any]]:
    """A separate server with the user bob, a simulator, and the settings of a worker that is not started yet."""
    store = stack.enter_context(RedisServer(kind))
    redis = await stack.enter_async_context(store_client(store.socket))
    await lay_user(redis, "bob", [apple(PIN)])
    apns = await stack.enter_async_context(ApnsSimulator())
    fcm = await stack.enter_async_context(FcmSimulator())
    return store, redis, apns, provider_settings(apns, fcm, drain_s=2)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_that_starts_on_a_full_redis_delivers_waiting_pings(tmp_path: Path, kind: str) -> None:
    """Otherwise a Redis that is full of pings would stay full: only a worker removes them."""
    async with AsyncExitStack() as stack:
        store, redis, apns, said = await _apart(stack, kind)
        link = RedisConnection(RedisAddress.parse(store.address), "test")
        await link.open(30)
        stack.push_async_callback(link.close)
        await Streams(link, "tested:0", 3600).prepare()
        waits = await QueueProducer(link, BacklogLimits(10, 10_000)).append(
            Ping(users=("bob",), message="waits"), 10
        )
        await redis.config_set("maxmemory", "1mb")
        worker = await stack.enter_async_context(working(tmp_path, store.address, said))
        await worker.done(waits.ping_id)
        assert apns.received.accepted[0].summary.alert == "waits"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_on_a_full_redis_creates_the_groups_when_there_is_room(
    tmp_path: Path, kind: str
) -> None:
    async with AsyncExitStack() as stack:
        store, redis, apns, said = await _apart(stack, kind)
        await redis.config_set("maxmemory", "1mb")
        worker = await stack.enter_async_context(working(tmp_path, store.address, said))
        refused = await worker.ping("bob", message="refused")
        assert (refused.status, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert "OOM" in refused.json()["error"]["message"]
        await redis.config_set("maxmemory", "0")
        await worker.done(await worker.accepted("bob", message="after"))
        assert [record.summary.alert for record in apns.received.accepted] == ["after"]
