"""A broadcast that is cancelled while three gateways deliver it: when they stop, and that every user is counted."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmOptions, FcmSimulator, Hosting
from gateway.store import keys
from tests.faults.load import Deliveries, Delivery
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer
from tests.support.rhoconnect import Client, android, apple, lay_users

GATEWAYS = 3
STREAMS = 40
USERS = 8_000
SMALL = 50
PROMISED_S = 1.0
"""Longest time from the answer to the last request (docs/http-api.md)."""
SLOW = ("delay=300",)
"""All gateways together take about ten seconds for the broadcast."""
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
            gateway = Gateway(folder / str(number), settings, app={"redis": store.address})
            stack.push_async_callback(gateway.close)
            gateways.append(gateway)
        await asyncio.gather(*(gateway.start() for gateway in gateways))
        async with Redis(unix_socket_path=str(store.socket)) as redis:
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
            await asyncio.sleep(0.1)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


@pytest.mark.parametrize("kills", [False, True], ids=["one is frozen", "the one that answered is killed"])
async def test_a_cancelled_broadcast_stops_and_counts_every_user(
    kills: bool, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deliveries = Deliveries()
    with RedisServer("valkey") as store:
        async with running(short_path, store, deliveries) as gateways:
            first, second, third = gateways
            answer = await first.ping([f"user{n}" for n in range(USERS)], message="all")
            await deliveries.reach(USERS // 10)
            small = await asyncio.gather(
                *(second.ping(f"user{n}", message=f"small {n}") for n in range(SMALL))
            )
            if not kills:
                signal_all(third.workers, signal.SIGSTOP)
            cancelled = await first.request("DELETE", f"/rc/v1/pings/{answer.ping_id}")
            answered_s = time.time()
            assert cancelled.status == 202, cancelled
            if kills:
                first.kill_all()
            else:  # the providers have answered the requests in flight when it runs again
                await asyncio.sleep(FROZEN_S)
                signal_all(third.workers, signal.SIGCONT)
            report = await finished(second, answer.ping_id)
            for ping in small:
                assert (await finished(second, ping.ping_id))["counts"]["accepted"] == 1
            await deliveries.has(Delivery(f"small {n}", phone(n).pin or "") for n in range(SMALL))
            async with Redis(unix_socket_path=str(store.socket)) as redis:
                left = await redis.exists(
                    keys.broadcast_users(answer.ping_id), keys.broadcast_devices(answer.ping_id), keys.CHUNKS
                )
                waiting = await redis.xlen(keys.CHUNKS)
    begun = [at_s for delivery, at_s in deliveries.begun if delivery.alert == "all"]
    late_s = max(begun) - answered_s
    with capsys.disabled():
        print(
            f"\n{USERS} users, {GATEWAYS} gateways, one {'killed' if kills else 'frozen'}: {report['counts']}, skipped"
            f" {report['skipped']}; {len(set(begun))} requests, the last one {late_s:.3f} s after the answer"
        )
    assert late_s <= PROMISED_S
    assert report["state"] == "cancelled"
    assert sum(report["counts"].values()) + report["skipped"]["cancelled"] == USERS
    reached = len({delivery for delivery in deliveries.counts if delivery.alert == "all"})
    lost = reached - report["counts"]["accepted"]
    assert 0 <= lost <= (IN_FLIGHT + deliveries.busiest(0.05) if kills else 0)
    assert (waiting, left) == (0, 1)  # the stream of chunks alone
