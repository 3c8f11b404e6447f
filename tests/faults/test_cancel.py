"""A broadcast that is cancelled while three gateways deliver it: when they stop, and that every user is counted."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmOptions, FcmSimulator, Hosting
from gateway.store import keys
from tests.faults.load import Deliveries, Delivery
from tests.support.constants import SHORT_LEASES
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import Client, android, apple, lay_users

GATEWAYS = 3
STREAMS = 40
USERS = 4_000
SMALL = 50
PROMISED_S = 1.0
"""Longest time from the answer to the last request (docs/http-api.md)."""
SLOW = ("delay=300",)
"""All gateways together take about five seconds for the broadcast."""
PATIENCE_S = 60
FROZEN_S = 2 * PROMISED_S
"""Less than the supervisor grants a worker that does not respond."""
IN_FLIGHT = GATEWAYS * 2 * STREAMS


def phone(number: int) -> Client:
    """A device; every other one is an Apple device."""
    return apple(f"{number:064x}") if number % 2 else android(f"registration-{number:06d}")


@asynccontextmanager
async def running(folder: Path, store: RedisServer, deliveries: Deliveries) -> AsyncIterator[list[Gateway]]:
    """Three gateways on one Redis."""
    hosting = Hosting(on_push=deliveries.note)
    async with AsyncExitStack() as stack:
        apns = await stack.enter_async_context(
            ApnsSimulator(ApnsOptions(streams=STREAMS, faults=SLOW), hosting)
        )
        fcm = await stack.enter_async_context(
            FcmSimulator(options=FcmOptions(streams=STREAMS, faults=SLOW), hosting=hosting)
        )
        settings = provider_settings(apns, fcm, retry={"unknown_s": 0.5, "jitter": 0.0})
        settings["apns"]["connections_max"] = settings["fcm"]["connections_max"] = 1
        settings["rhoconnect_push"] = {"mode": "off"}
        gateways: list[Gateway] = []
        for number in range(GATEWAYS):
            (folder / str(number)).mkdir()
            gateway = Gateway(
                folder / str(number), settings, app={"redis": store.address}, constants=SHORT_LEASES
            )
            stack.push_async_callback(gateway.close)
            gateways.append(gateway)
        await asyncio.gather(*(gateway.start() for gateway in gateways))
        async with store_client(store.socket) as redis:
            await lay_users(redis, {f"user{n}": (phone(n),) for n in range(USERS)})
        yield gateways


async def finished(gateway: Gateway, ping_id: str) -> dict[str, Any]:
    """The receipt, once it reports no open delivery."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await gateway.request("GET", f"/rc/v1/pings/{ping_id}")
            report: dict[str, Any] = answer.json()
            if answer.status == 200 and report["state"] in ("done", "cancelled"):
                return report
            await asyncio.sleep(0.02)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


@pytest.mark.timeout(240)
async def test_a_cancelled_broadcast_stops_and_counts_every_user(
    short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At first all gateways live, one of them frozen for a while; then the one that answered the cancellation is
    killed."""
    deliveries = Deliveries()
    with RedisServer("valkey") as store:
        async with running(short_path, store, deliveries) as gateways:
            for text, kills in (("one is frozen", False), ("one is killed", True)):
                found = await assert_cancelled(text, gateways, store, deliveries, kills=kills)
                with capsys.disabled():
                    print(f"\n{USERS} users, {GATEWAYS} gateways, {text}: {found}")


async def assert_cancelled(
    text: str, gateways: Sequence[Gateway], store: RedisServer, deliveries: Deliveries, *, kills: bool
) -> str:
    """Cancel a broadcast of this text, and check it; returns a summary."""
    first, second, third = gateways
    answer = await first.ping([f"user{n}" for n in range(USERS)], message=text)
    await deliveries.reach(len(deliveries.times) + USERS // 10)
    small = await asyncio.gather(
        *(second.ping(f"user{n}", message=f"{text}, small {n}") for n in range(SMALL))
    )
    if not kills:
        signal_all(third.workers, signal.SIGSTOP)
    deleted = await first.request("DELETE", f"/rc/v1/pings/{answer.ping_id}")
    answered_s = time.time()
    assert deleted.status == 202, deleted
    if kills:
        first.kill_all()
    else:  # the providers have answered the requests in flight when it runs again
        await asyncio.sleep(FROZEN_S)
        signal_all(third.workers, signal.SIGCONT)
    report = await finished(second, answer.ping_id)
    for ping in small:
        assert (await finished(second, ping.ping_id))["counts"]["accepted"] == 1
    await deliveries.has(Delivery(f"{text}, small {n}", phone(n).pin or "") for n in range(SMALL))
    async with store_client(store.socket) as redis:
        left = await redis.exists(
            keys.broadcast_users(answer.ping_id), keys.broadcast_devices(answer.ping_id), keys.CHUNKS
        )
        waiting = await redis.xlen(keys.CHUNKS)
    begun = [at_s for delivery, at_s in deliveries.begun if delivery.alert == text]
    late_s = max(begun) - answered_s
    assert late_s <= PROMISED_S, text
    assert report["state"] == "cancelled", text
    assert sum(report["counts"].values()) + report["skipped"]["cancelled"] == USERS, text
    reached = len({delivery for delivery in deliveries.counts if delivery.alert == text})
    lost = reached - report["counts"]["accepted"]
    assert 0 <= lost <= (IN_FLIGHT + deliveries.busiest(0.05) if kills else 0), text
    assert (waiting, left) == (0, 1), text  # the stream of chunks alone
    return (
        f"{report['counts']}, skipped {report['skipped']}; {len(set(begun))} requests, the last one"
        f" {late_s:.3f} s after the answer"
    )
