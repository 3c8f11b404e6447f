"""Traces of pings through a real gateway, to a real collector."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest

from gateway.server.tracing import open_tracer
from gateway.settings import Settings
from gateway.simulators import ApnsSimulator, FcmSimulator
from tests.conftest import StartGateway
from tests.support.gateway import Gateway
from tests.support.otlp import Collector
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import apple, lay_user
from tests.support.webhooks import Receiver, receiving

PIN = "ab" * 32


class Stage(NamedTuple):
    """A gateway that records traces; its registry and its queue have a Redis each."""

    gateway: Gateway
    collector: Collector
    registry: RedisServer
    receiver: Receiver


@pytest.fixture
async def stage(start_gateway: StartGateway) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        registry, queue = (stack.enter_context(RedisServer("valkey")) for _ in range(2))
        async with store_client(registry.socket) as redis:
            await lay_user(redis, "bob", [apple(PIN)])
        apns = await stack.enter_async_context(ApnsSimulator())
        fcm = await stack.enter_async_context(FcmSimulator())
        collector = await stack.enter_async_context(Collector())
        receiver = await stack.enter_async_context(receiving())
        settings = provider_settings(
            apns,
            fcm,
            queue={"redis": queue.address},
            tracing={"endpoint": collector.url, "sample": 0.0},
            webhooks={"crm": receiver.settings("ping.completed")},
        )
        gateway = await start_gateway(settings, app={"redis": registry.address})
        yield Stage(gateway, collector, registry, receiver)


def traceparent(trace_id: str, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{'12' * 8}-{flags}"}


async def ping(
    gateway: Gateway, headers: dict[str, str], path: str = "/rc/v1/users/ping", user: str = "bob"
) -> str:
    body = {"user_id": user, "message": "hello"}
    answer = await gateway.request("POST", path, json=body, headers=headers)
    assert answer.status == 200
    return answer.ping_id


async def line(gateway: Gateway, headers: dict[str, str]) -> None:
    """A ping as one line of a request with many pings."""
    body = b'{"user_id": "bob", "message": "hello"}\n'
    headers = headers | {"Content-Type": "application/x-ndjson"}
    assert (await gateway.request("POST", "/rc/v1/pings", data=body, headers=headers)).status == 200


async def test_a_trace_continues_over_a_restart_between_append_and_fan_out(stage: Stage) -> None:
    gateway, collector, registry, receiver = stage
    trace_id = secrets.token_hex(16)
    await ping(gateway, {}, user="nobody")  # the API token is cached now
    registry.freeze()  # the look-up of the user's devices waits: the fan-out cannot begin
    ping_id = await ping(gateway, traceparent(trace_id))
    first = await collector.has(trace_id, "ingress")
    assert set(first) == {"ingress"}
    gateway.kill_all()
    await gateway.wait()
    registry.thaw()
    await gateway.start()
    names = ("ingress", "queue", "fan-out", "delivery apns", "webhook crm")
    spans = await collector.has(trace_id, *names)
    assert set(spans) == set(names)
    ingress = spans["ingress"]
    assert ingress.parent_id == "12" * 8
    for name in names[1:]:
        assert spans[name].parent_id == ingress.span_id
        assert spans[name].attributes["rhopush.ping_id"] == ping_id
        assert spans[name].resource["process.pid"] != ingress.resource["process.pid"]
    assert spans["queue"].end_ns == spans["fan-out"].begin_ns
    assert spans["fan-out"].end_ns == spans["delivery apns"].begin_ns
    assert ingress.begin_ns // 1_000_000 <= spans["queue"].begin_ns // 1_000_000 + 1_000
    assert spans["delivery apns"].attributes["rhopush.accepted"] == 1
    assert [event["ping_id"] for event in receiver.events("ping.completed")][-1] == ping_id
    assert spans["webhook crm"].attributes["http.response.status_code"] == 204
    assert spans["webhook crm"].begin_ns >= spans["delivery apns"].end_ns


async def test_the_callers_flag_decides_on_every_route(stage: Stage) -> None:
    gateway, collector, *_ = stage
    recorded = {path: secrets.token_hex(16) for path in ("/rc/v1/users/ping", "/api/ping", "/rc/v1/pings")}
    for path, trace_id in recorded.items():
        unrecorded = traceparent(secrets.token_hex(16), "00")
        for headers in (unrecorded, {"traceparent": "malformed"}, {}, traceparent(trace_id)):
            if path == "/rc/v1/pings":
                await line(gateway, headers)
            else:
                await ping(gateway, headers, path)
    for trace_id in recorded.values():
        await collector.has(trace_id, "ingress", "delivery apns")
    assert {span.trace_id for span in collector.spans} == set(recorded.values())


async def test_without_an_endpoint_there_is_no_tracer() -> None:
    async with open_tracer(Settings(), "gateway:0") as tracer:
        assert tracer is None
