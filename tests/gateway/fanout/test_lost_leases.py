"""A worker that was silent for longer than a lease: what it did not send is another's now. And Redis away."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.simulators import ApnsOptions, ApnsSimulator
from gateway.store import keys
from gateway.store.link import LinkLost
from tests.support.rhoconnect import apple, lay_user
from tests.support.spine import spine, until


@pytest.fixture
async def apns() -> AsyncIterator[ApnsSimulator]:
    """Takes one request at a time."""
    async with ApnsSimulator(ApnsOptions(streams=1)) as simulator:
        yield simulator


def _pin(number: int) -> str:
    return f"{number:064x}"


@pytest.mark.parametrize("notices", ["renewing", "saving"])
async def test_what_was_taken_over_is_sent_by_its_new_owner_alone(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
    notices: str,
) -> None:
    monkeypatch.setattr("gateway.store.streams.LEASE_S", 0.0)
    monkeypatch.setattr("gateway.fanout.ledger.RENEW_S", 0.01 if notices == "renewing" else 60)
    settings["apns"]["connections_max"] = 1
    await lay_user(redis_client, "bob", [apple(_pin(n)) for n in range(5)])
    async with (
        spine(redis_address, tmp_path, settings, name="one:0") as one,
        spine(redis_address, tmp_path, settings, name="two:0") as two,
    ):
        apns.hold()
        ping_id = await one.append("bob")
        await one.planner.deliver(await one.read(keys.PINGS))
        await apns.received.wait(1)  # four wait in memory
        (lane,) = one.lanes.all()
        assert lane.backlog == 4
        leases, _ = await two.streams.take_over(keys.PINGS, "0-0", 10)
        (unit,) = one.ledger._units.values()
        unit.dirty = True
        one.ledger.start()
        await until(lambda: unit.lost)
        apns.release()
        await two.planner.deliver(leases)
        report = await two.done(ping_id)
        await until(lambda: lane.in_flight == 0)
        assert lane.backlog == 0
        await one.ledger.close()
    assert report["counts"]["accepted"] == 5
    # The one that was under way when the lease was lost comes twice; the four that waited do not.
    assert sorted(Counter(record.token for record in apns.received).values()) == [1, 1, 1, 1, 2]


async def test_redis_is_asked_by_one_settlement_while_it_is_away(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.fanout.ledger._AGAIN_S", 0.01)
    await lay_user(redis_client, "bob", [apple(_pin(1))])
    async with spine(redis_address, tmp_path, settings) as one:
        settle, tried, away = one.streams.settle, 0, True

        def counted(done: Any, now_ms: int, told: Any) -> None:
            nonlocal tried
            tried += 1
            if away:
                told(LinkLost("away", sent=False))
            else:
                settle(done, now_ms, told)

        monkeypatch.setattr(one.streams, "settle", counted)
        ids = [await one.append("bob", message=str(n)) for n in range(50)]
        await one.planner.deliver(await one.read(keys.PINGS))
        await apns.received.wait(50)
        await until(lambda: tried >= 60)
        assert tried < 100
        away = False
        for ping_id in ids:
            assert (await one.done(ping_id))["counts"]["accepted"] == 1
    assert len(apns.received) == 50
