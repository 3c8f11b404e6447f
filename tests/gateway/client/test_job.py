"""`PingJob` against a running gateway and a simulated Apple; and its Resque jobs in a real Redis."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.client import PingError, PingJob
from tests.gateway.delivered import Delivered, delivered
from tests.support.redis import KINDS, RedisServer


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Delivered]:
    async with delivered(tmp_path) as both:
        PingJob.configure(server=both.gateway.url, token=both.gateway.token)
        yield both


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    yield
    PingJob.configure()


async def perform(how: str, **parameters: Any) -> str:
    if how == "aperform":
        return await PingJob.aperform(**parameters)
    return await asyncio.to_thread(PingJob.perform, **parameters)


@pytest.mark.parametrize("how", ["perform", "aperform"])
async def test_it_blocks_until_delivered_or_raises_what_went_wrong(running: Delivered, how: str) -> None:
    ping_id = await perform(how, user_id="good", message="hello", sources=["Product"], badge=3)
    pushed = running.apns.received[0]
    assert (pushed.summary.alert, pushed.summary.badge, pushed.summary.do_sync) == ("hello", 3, ("Product",))
    assert len(ping_id) == 32

    with pytest.raises(PingError) as failed:
        await perform(how, user_id=["good", "dead"], message="half")
    assert failed.value.errors == ("deaddeaddeaddeaddeaddeaddeaddead: Unregistered",)
    assert len(failed.value.ping_id or "") == 32
    assert failed.value.refused_with is None

    assert await perform(how, user_id="empty", message="nobody")
    assert await perform(how, user_id="unknown", message="nobody")


@pytest.mark.parametrize("how", ["perform", "aperform"])
async def test_it_outlasts_the_gateways_own_wait(running: Delivered, how: str) -> None:
    await perform(how, user_id="slow", message="takes two seconds, the gateway waits one")
    assert [record.summary.alert for record in running.apns.received] == [
        "takes two seconds, the gateway waits one"
    ]


@pytest.mark.parametrize("how", ["perform", "aperform"])
async def test_the_client_times_out_by_its_own_limit_and_reports_the_ping(
    running: Delivered, how: str
) -> None:
    PingJob.configure(server=running.gateway.url, token=running.gateway.token, timeout_s=1.5)
    with pytest.raises(PingError, match=r"not every device has a verdict after 1\.5 s") as failed:
        await perform(how, user_id="slow", message="too slow")
    assert len(failed.value.ping_id or "") == 32


@pytest.mark.parametrize("how", ["perform", "aperform", "enqueue"])
async def test_a_refusal_has_the_gateways_text(running: Delivered, how: str) -> None:
    async def call(**parameters: Any) -> None:
        if how == "enqueue":
            await asyncio.to_thread(PingJob.enqueue, **parameters)
        else:
            await perform(how, **parameters)

    with pytest.raises(PingError, match="badge") as refused:
        await call(user_id="good", badge={"no": "number"})
    assert refused.value.refused_with == 400

    PingJob.configure(server=running.gateway.url, token="wrong")
    with pytest.raises(PingError, match="No API token provided") as refused:
        await call(user_id="good", message="x")
    assert refused.value.refused_with == 422
    assert "wrong" not in str(refused.value)


async def test_enqueue_returns_once_the_ping_is_safe(running: Delivered) -> None:
    ping_id = await asyncio.to_thread(PingJob.enqueue, user_id=["slow", "good"], message="later")
    assert ping_id is not None
    assert (await running.gateway.request("GET", f"/rc/v1/pings/{ping_id}")).status == 200
    await running.apns.received.wait(2)
    assert {record.summary.alert for record in running.apns.received} == {"later"}


@pytest.mark.parametrize("how", ["perform", "aperform"])
async def test_to_and_deliver_at_go_with_every_call(running: Delivered, how: str) -> None:
    """`to` with a device and a push token; `deliver_at` in the past and later, alone and in a line."""
    to = {"devices": ["good" * 8], "tokens": [{"provider": "apns", "token": "cd" * 32}]}
    await perform(how, to=to, message="listed", badge="+1")
    assert {record.token: record.summary.badge for record in running.apns.received} == {
        "ab" * 32: 1,
        "cd" * 32: 1,
    }
    with pytest.raises(PingError, match=r"to\.everybody") as refused:
        await perform(how, to={"everybody": True}, message="x")
    assert refused.value.refused_with == 400
    with pytest.raises(PingError, match="deliver_at cannot be combined with wait"):
        await perform(how, user_id="good", message="x", deliver_at=1)

    async def state(ping_id: str | None) -> Any:
        return (await running.gateway.request("GET", f"/rc/v1/pings/{ping_id}")).json()["state"]

    later = {"user_id": "good", "message": "later", "deliver_at": int(time.time()) + 3_600}
    assert await state(await asyncio.to_thread(PingJob.enqueue, **later)) == "scheduled"
    lines = [later, {**later, "deliver_at": "2030-01-31T09:30:00"}, {"to": {"apps": []}}]
    results = [result async for result in PingJob.abulk(lines)]
    assert await state(results[0].ping_id) == "scheduled"
    assert [result.field for result in results] == [None, "deliver_at", "to.apps"]
    past = await asyncio.to_thread(PingJob.enqueue, user_id="good", message="past", deliver_at=1)
    assert past
    await running.apns.received.wait(3)
    assert running.apns.received[-1].summary.alert == "past"


@pytest.mark.parametrize("how", ["perform", "aperform"])
async def test_an_unreachable_gateway_is_reported(how: str, unused_tcp_port: int) -> None:
    PingJob.configure(server=f"http://127.0.0.1:{unused_tcp_port}", token="hush")
    with pytest.raises(PingError, match="cannot be reached") as failed:
        await perform(how, user_id="good")
    assert "hush" not in str(failed.value)


async def test_a_server_without_http_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        PingJob.configure(server=f"http://127.0.0.1:{listener.getsockname()[1]}", token="t")
        call = asyncio.create_task(asyncio.to_thread(PingJob.perform, user_id="good"))
        link, _ = await asyncio.to_thread(listener.accept)
        with link:
            link.sendall(b"SSH-2.0\r\n")
            with pytest.raises(PingError, match="cannot be reached"):
                await call


@pytest.mark.parametrize("server", ["ftp://host", "host:9292", ""])
def test_a_server_must_be_a_url(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PingJob.configure(server=server or "http://")
    with pytest.raises(PingError, match="must be an http or https URL"):
        PingJob.perform(user_id="good")


async def test_a_resque_job_is_written_as_rhoconnect_writes_it(
    redis_server: RedisServer, redis_address: str, redis_client: Redis
) -> None:
    PingJob.configure(redis=redis_address)
    assert await asyncio.to_thread(PingJob.enqueue, user_id=["bob"], message="hi", badge=1) is None
    assert await redis_client.smembers("resque:queues") == {b"ping"}
    jobs = await redis_client.lrange("resque:queue:ping", 0, -1)
    assert [json.loads(job) for job in jobs] == [
        {"class": "Rhoconnect::PingJob", "args": [{"user_id": ["bob"], "message": "hi", "badge": 1}]}
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("password", "accepted", "refused"),
    [("pw", ("redistogo:pw", ":pw"), "redistogo:other"), ("", (":pw",), "redistogo:pw")],
    ids=["password", "no password"],
)
def test_a_made_up_user_or_password_of_a_hoster_is_left_out(
    kind: str, password: str, accepted: tuple[str, ...], refused: str
) -> None:
    """As in redis-rb: a user that Redis does not have is left out only if the password alone is correct."""
    with RedisServer(kind) as server, server.client() as client:
        client.config_set("requirepass", password)
        for login in accepted:
            PingJob.configure(redis=server.address.replace("unix://", f"unix://{login}@"))
            PingJob.enqueue(user_id="bob")
        PingJob.configure(redis=server.address.replace("unix://", f"unix://{refused}@"))
        with pytest.raises(PingError, match="refuses the user or password"):
            PingJob.enqueue(user_id="bob")
        assert client.llen("resque:queue:ping") == len(accepted)


def test_an_unreachable_redis_is_reported(tmp_path: Path) -> None:
    PingJob.configure(redis=f"unix://{tmp_path}/none")
    with pytest.raises(PingError, match=r"Redis at unix://.*/none\S* cannot be reached"):
        PingJob.enqueue(user_id="bob")


def test_server_and_token_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHOPUSH_SERVER", "http://127.0.0.1:1")
    with pytest.raises(PingError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        PingJob.enqueue(user_id="bob")


def test_importing_it_brings_no_web_framework() -> None:
    program = "import sys, gateway.client; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert not {"aiohttp", "redis", "asyncio", "cryptography"} & set(done.stdout.split())


@pytest.mark.parametrize("how", ["perform", "aperform"])
async def test_a_token_may_end_with_a_line(running: Delivered, how: str) -> None:
    PingJob.configure(server=running.gateway.url, token=running.gateway.token + "\n")
    assert len(await perform(how, user_id="good", message="hello")) == 32


@pytest.mark.parametrize("how", ["perform", "aperform"])
@pytest.mark.parametrize("token", ["se\ncret", "secr\u00e9t"])
async def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(how: str, token: str) -> None:
    PingJob.configure(server="http://127.0.0.1:1", token=token)
    with pytest.raises(PingError, match="not allowed in an HTTP header") as refused:
        await perform(how, user_id="good")
    assert token not in str(refused.value)
