"""`kill -9` at random times: no ping is completed without its event, and repeats have the same id and body.

The receiver fails now and then, so that kills also meet messages that are being repeated.
"""

import asyncio
import itertools
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmOptions, FcmSimulator, Hosting
from protocols.webhooks.events import PING_COMPLETED, PING_FAILED_DEVICES
from tests.faults.load import Deliveries, Senders
from tests.faults.test_kill import KILLS, finished
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import store_client
from tests.support.rhoconnect import Client, android, apple, lay_users
from tests.support.webhooks import assert_repeats_are_equal, receiving

USERS = 200
FAULTS = ("503=1:every=5",)
SOON = {"protocols.webhooks.attempts.RETRY_S": [0.5, 1.0, 2.0]}
"""Delays between attempts at a message."""
BROADCAST = 450
"""Users of every tenth ping: more than an entry holds."""


def phone(number: int) -> Client:
    return apple(f"{number:064x}") if number % 2 else android(f"registration-{number:06d}")


def choose(number: int) -> list[str]:
    if number % 10 == 0:
        return [f"user{n}" for n in range(BROADCAST)]
    return [f"user{number % USERS}"]


@pytest.mark.timeout(300)
async def test_no_completed_ping_lacks_its_event(
    short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("RHOPUSH_TEST_SEED") or random.SystemRandom().getrandbits(32))
    print(f"RHOPUSH_TEST_SEED={seed}")
    dice = random.Random(seed)
    deliveries = Deliveries()
    hosting = Hosting(on_push=deliveries.note)
    answers = itertools.cycle((204, 204, 503))
    async with (
        receiving() as receiver,
        ApnsSimulator(ApnsOptions(faults=FAULTS), hosting) as apns,
        FcmSimulator(options=FcmOptions(), hosting=hosting) as fcm,
    ):
        receiver.status = lambda: next(answers)
        settings = provider_settings(
            apns,
            fcm,
            retry={"unknown_s": 0.5, "apns_5xx_s": 0.2, "jitter": 0.0},
            webhooks={"crm": receiver.settings(PING_COMPLETED, PING_FAILED_DEVICES)},
        )
        gateway = Gateway(short_path, settings, workers=2, constants=SOON)
        try:
            await gateway.start()
            socket = gateway.data_dir / "valkey" / "valkey.sock"
            async with store_client(socket) as redis:
                await lay_users(redis, {f"user{n}": (phone(n),) for n in range(BROADCAST)})
            senders = Senders(gateway, choose, 4, 0.01)
            senders.start()
            for kill in KILLS[:3]:
                await deliveries.reach(len(deliveries.times) + dice.randrange(200, 600))
                await asyncio.sleep(dice.uniform(0.0, 0.1))
                await kill(gateway, dice)
            await deliveries.reach(len(deliveries.times) + 200)
            await senders.stop()
            pings = [promise.ping_id for promise in senders.promises]
            await finished(gateway, pings[-20:])
            await receiver.until(
                lambda: set(pings) <= {event["ping_id"] for event in receiver.events(PING_COMPLETED)}
            )
        finally:
            await gateway.close()
    assert_repeats_are_equal(receiver.messages)
    counts = Counter(event["ping_id"] for event in receiver.events(PING_COMPLETED))
    assert set(counts.values()) == {1}
    with capsys.disabled():
        print(f"\n{len(pings)} pings got 200 and their event, {len(receiver.messages)} messages, 3 kills")
