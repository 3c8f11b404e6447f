"""`kill -9` at random times under load: pings answered with 200 arrive, and only pushes in flight are repeated.

A push is in flight after it was passed to a connection and before its verdict is in Redis. With one connection a
lane and a known stream limit, their number is bounded by numbers that the test sets itself; verdicts are saved
within 50 ms (docs/architecture.md), so at most as many pushes are added as the providers accepted in the busiest 50
ms.
"""

import asyncio
import os
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.delivery.unsaved import UNSAVED_MAX_S
from gateway.simulators import ApnsOptions, ApnsSimulator, FcmOptions, FcmSimulator, Hosting
from gateway.store import keys
from tests.faults.load import Deliveries, Delivery, Senders
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.rhoconnect import Client, android, apple, lay_users

WORKERS = 2
STREAMS = 40
LANES = 2
SAVED_WITHIN_S = 0.05
IN_FLIGHT = WORKERS * LANES * STREAMS
"""The sum over both workers, with one connection for each lane."""
USERS = 400
CROWD = 2000
AUDIENCE = 1000
"""Users of a broadcast: three chunks."""
CROWDS = 2
SLOW = ("delay=100",)
"""Each lane of a worker takes two and a half seconds for a thousand deliveries, and holds hundreds."""
RECORDING_S = 0.25
"""The verdicts of this time may be unrecorded before Redis stops to answer: a pass of writing, on a slow machine."""


class Callers(NamedTuple):
    """Callers who ping at the same time, each after a pause."""

    number: int
    users_of: Callable[[int], Sequence[str]]
    pause_s: float


class Traffic(NamedTuple):
    """Work in progress while processes are killed."""

    callers: tuple[Callers, ...]
    faults: tuple[str, ...] = ()


def one_user(number: int) -> Sequence[str]:
    return (f"user{number % USERS}",)


def apple_user(number: int) -> Sequence[str]:
    """A user of an Apple device, except every twentieth: each 429 slows FCM's lane to some pushes a second."""
    return (f"user{number % USERS if number % 20 == 0 else (number | 1) % USERS}",)


def audience(_: int) -> Sequence[str]:
    return [f"user{number}" for number in range(AUDIENCE)]


TRAFFIC = {
    "small pings and broadcasts": Traffic((Callers(6, one_user, 0.005), Callers(1, audience, 0.5))),
    "retries": Traffic((Callers(6, apple_user, 0.01),), ("503=1:every=3", "429=1:every=7,next=2")),
}


def phone(number: int) -> Client:
    """A device; every other one is an Apple device."""
    return apple(f"{number:064x}") if number % 2 else android(f"registration-{number:06d}")


async def kill_worker(gateway: Gateway, dice: random.Random) -> None:
    gateway.kill(dice.choice(gateway.workers))


async def kill_supervisor(gateway: Gateway, _: random.Random) -> None:
    gateway.kill(gateway.supervisor)
    await gateway.wait()
    await gateway.start()


async def kill_all(gateway: Gateway, _: random.Random) -> None:
    gateway.kill_all()
    await gateway.wait()
    await gateway.start()


KILLS: Sequence[Callable[[Gateway, random.Random], Awaitable[None]]] = (
    kill_worker,
    kill_supervisor,
    kill_all,
    kill_worker,
)


@pytest.fixture
def dice() -> random.Random:
    """The random times; the seed is printed with a failure, and RHOPUSH_TEST_SEED repeats it."""
    seed = int(os.environ.get("RHOPUSH_TEST_SEED") or random.SystemRandom().getrandbits(32))
    print(f"RHOPUSH_TEST_SEED={seed}")
    return random.Random(seed)


@asynccontextmanager
async def running(
    folder: Path,
    store: RedisServer | None,
    faults: Sequence[str],
    deliveries: Deliveries,
    constants: Mapping[str, Any] | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway with two workers, both providers, and its users."""
    hosting = Hosting(on_push=deliveries.note)
    async with (
        ApnsSimulator(ApnsOptions(streams=STREAMS, faults=faults), hosting) as apns,
        FcmSimulator(options=FcmOptions(streams=STREAMS, faults=faults), hosting=hosting) as fcm,
    ):
        settings = provider_settings(apns, fcm, retry={"unknown_s": 0.5, "jitter": 0.0})
        settings["apns"]["connections_max"] = settings["fcm"]["connections_max"] = 1
        app = {"redis": store.address} if store is not None else {}
        gateway = Gateway(folder, settings, app=app, workers=WORKERS, constants=constants)
        try:
            await gateway.start()
            socket = store.socket if store is not None else gateway.data_dir / "valkey" / "valkey.sock"
            async with store_client(socket) as redis:
                await lay_users(redis, {f"user{n}": (phone(n),) for n in range(CROWD)})
            yield gateway
        finally:
            await gateway.close()


@pytest.fixture(params=["embedded", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[RedisServer | None]:
    """The Redis of the queue: None for the embedded Valkey."""
    with ExitStack() as stack:
        yield None if request.param == "embedded" else stack.enter_context(RedisServer("redis"))


@pytest.mark.parametrize("name", TRAFFIC)
async def test_pings_answered_with_200_survive_kill_9(
    name: str,
    store: RedisServer | None,
    short_path: Path,
    dice: random.Random,
    capsys: pytest.CaptureFixture[str],
) -> None:
    traffic = TRAFFIC[name]
    deliveries = Deliveries()
    async with running(short_path, store, traffic.faults, deliveries) as gateway:
        groups = [
            Senders(gateway, callers.users_of, callers.number, callers.pause_s, f"group {number}")
            for number, callers in enumerate(traffic.callers)
        ]
        for senders in groups:
            senders.start()
        for kill in KILLS:
            await deliveries.reach(len(deliveries.times) + dice.randrange(50, 250))
            await asyncio.sleep(dice.uniform(0.0, 0.1))  # the random time
            await kill(gateway, dice)
        await deliveries.reach(len(deliveries.times) + 100)
        for senders in groups:
            await senders.stop()
        promises = [promise for senders in groups for promise in senders.promises]
        await deliveries.has(
            Delivery(promise.alert, phone(int(user.removeprefix("user"))).pin or "")
            for promise in promises
            for user in promise.users
        )
        await finished(gateway, [promise.ping_id for senders in groups for promise in senders.promises[-20:]])
    bound = len(KILLS) * (IN_FLIGHT + deliveries.busiest(SAVED_WITHIN_S))
    with capsys.disabled():
        print(
            f"\n{name} on {store.kind if store else 'the embedded store'}: {len(promises)} pings got"
            f" 200, {len(deliveries.counts)} deliveries, {deliveries.repeats} repeated (at most {bound}),"
            f" {deliveries.refused} refused at first, {sum(senders.broken for senders in groups)} requests cut"
            f" off, {len(KILLS)} kills"
        )
    assert deliveries.repeats <= bound
    assert bool(deliveries.refused) == bool(traffic.faults)
    assert not any(senders.others for senders in groups)
    assert all(senders.promises for senders in groups)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_kill_while_redis_does_not_answer_repeats_at_most_one_second_of_requests(
    kind: str, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workers hold thousands of deliveries, and no verdict of them can be recorded."""
    deliveries = Deliveries()
    with RedisServer(kind) as store:
        async with running(short_path, store, SLOW, deliveries) as gateway:
            users = [f"user{n}" for n in range(CROWD)]
            answers = [await gateway.ping(users, message=f"ping {number}") for number in range(CROWDS)]
            await all_read(store)
            await deliveries.reach(len(deliveries.times) + CROWD // 8)
            store.freeze()
            unsaved = await stopped(gateway)
            accepted = deliveries.accepted_by()
            gateway.kill_all()
            await gateway.wait()
            store.thaw()
            await gateway.start()
            await deliveries.has(
                Delivery(f"ping {number}", phone(n).pin or "")
                for number in range(CROWDS)
                for n in range(CROWD)
            )
            await finished(gateway, [answer.ping_id for answer in answers])
    for name, accepted_before in accepted.items():
        repeats = deliveries.repeats_of(name)
        bound = WORKERS * STREAMS + deliveries.busiest(UNSAVED_MAX_S + RECORDING_S, name)
        with capsys.disabled():
            print(
                f"\n{name} on {kind}: {accepted_before} deliveries before the kill, {unsaved[name]:.0f} without a"
                f" recorded verdict, {repeats} repeated (at most {bound})"
            )
        assert repeats <= unsaved[name] <= bound


async def all_read(store: RedisServer) -> None:
    """Wait until the workers have all chunks of the broadcasts."""
    async with store_client(store.socket) as redis, asyncio.timeout(60):
        while await redis.xlen(keys.BROADCASTS) or await redis.xlen(keys.CHUNKS) > await held(redis):
            await asyncio.sleep(0.005)


async def held(redis: Redis) -> int:
    return int((await redis.xpending(keys.CHUNKS, keys.GROUP))["pending"])


async def stopped(gateway: Gateway) -> dict[str, float]:
    """Wait until no lane has a request in flight though deliveries wait; the unrecorded verdicts by provider."""
    async with asyncio.timeout(60):
        while True:
            shown = (await gateway.request("GET", "/metrics")).body.decode()
            stalls = gateway.log.read_text().count("verdict_writes_stalled")
            in_flight, unsaved = _by_provider(shown, "lane_in_flight"), _by_provider(shown, "lane_unsaved")
            if stalls == WORKERS and not any(in_flight.values()) and all(unsaved.values()):
                return unsaved
            await asyncio.sleep(0.02)


def _by_provider(shown: str, metric: str) -> dict[str, float]:
    found = re.findall(rf'^rhopush_{metric}{{lane="(\w+):[^"]*"}} (\S+)$', shown, re.MULTILINE)
    return {provider: float(value) for provider, value in found}


async def finished(gateway: Gateway, ping_ids: Sequence[str]) -> None:
    """Wait until the receipts report no open delivery."""
    async with asyncio.timeout(30):
        for ping_id in ping_ids:
            while (await gateway.request("GET", f"/rc/v1/pings/{ping_id}")).json()["state"] != "done":
                await asyncio.sleep(0.05)
