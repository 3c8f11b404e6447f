"""The part of the dump that a killed worker leaves in the queue, made step by step with the worker's own parts."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from gateway.change_events.windows import ChangeWindows, PendingChange
from gateway.delivery.proofs import Proofs
from gateway.queue import scripts
from gateway.queue.append_batch import new_batch
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.consumer import Streams
from gateway.queue.entries import Chunk, leases_of, read_broadcast
from gateway.queue.ping_queue import BacklogLimits
from gateway.resque.store import ResqueStore
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection
from protocols.change_events import Change
from tests.support.worker_core import RECEIPT_S, WorkerCore, now_ms, pipeline, until
from tests.upgrade.stand import CHANGES, LATER_S, place, registration, token

if TYPE_CHECKING:
    from tests.upgrade.make_dump import Maker

_DEAD = "dead-gateway"
_LIMITS = BacklogLimits(1_000_000, 1 << 31)
_FANS = [f"fan{number:03}" for number in range(850)]
"""Three chunks of users, of whom five exist."""


async def saved(address: str, ping_id: str, verdicts: int) -> bool:
    """Whether so many verdicts are saved of the unfinished entry that holds a ping."""
    async with linked(address) as link:
        leases = leases_of(keys.PINGS, await link.call("XRANGE", keys.PINGS, "-", "+"), redelivered=True)
        streams = Streams(link, "looks", RECEIPT_S)
        found = [await streams.progress(one) for one in leases if ping_id[:28].encode() in one.payload]
        return any(progress is not None and len(progress.ended()) == verdicts for progress in found)


async def leave(maker: "Maker") -> None:
    """Leave work in each stage."""
    settings = maker.stand.settings(retry={"unknown_s": 0.1, "jitter": 0.0})
    async with (
        pipeline(maker.store.address, maker.folder, settings, name=f"{_DEAD}:0") as one,
        linked(maker.store.address) as link,
    ):
        await marks(maker, one, link)
        await called_again(maker, one)
        await broadcast_after_splitting(maker, one)
        await broadcast_between(maker, one, link)
        await claimed(maker, one)
        await broadcast_before_splitting(maker, one)
        await appended(maker, one)
        await changes(maker, link)
        await jobs(maker, link)


@asynccontextmanager
async def linked(address: str) -> AsyncIterator[RedisConnection]:
    """A connection of the product's."""
    link = RedisConnection(RedisAddress.parse(address), "made")
    await link.open(5)
    try:
        yield link
    finally:
        await link.close()


async def marks(maker: "Maker", one: WorkerCore, link: RedisConnection) -> None:
    """A token of Apple's other environment, refusals that are not believed yet, and an append that was given up."""
    [known] = await one.registry.devices_of(["gil"])
    [device] = [device for device in known.devices if device.pin == token("away")]
    here = place(maker.stand.apns.port)
    await one.registry.mark_host(device, here, now_ms())
    assert await Proofs(link).count(here, bad=True) == 1
    await link.eval(scripts.FENCE, [keys.marker(new_batch(now_ms()), 0)], [keys.MARKER_S])


async def called_again(maker: "Maker", one: WorkerCore) -> None:
    """A retry whose time has come, on its stream, held by the dead consumer."""
    text = "a retry that is due"
    ping_id = await one.append("zed", message=text)
    await one.planner.deliver(one.in_flight.claim(await one.read(keys.PINGS)))
    assert await one.in_flight.wait_empty(10)
    await until(lambda: one.streams.release_due(1))
    assert len(await one.read(keys.RETRIES)) == 1
    maker.note_ping(ping_id, text, [token("zed1")], (1, 0))


async def broadcast_after_splitting(maker: "Maker", one: WorkerCore) -> None:
    """The first of two chunks is delivered but for one device, which Google refused for a while; the dead consumer
    holds the second chunk, which shares a phone with the first."""
    text = "a broadcast that is cut"
    maker.stand.fcm.faults.add(f"503={LATER_S}:token={registration('dora2')}")
    nobody = [f"nobody{number:03}" for number in range(keys.CHUNK_USERS - 1)]
    ping_id = await one.append("dora", *nobody, "dirk", message=text)
    [lease] = one.in_flight.claim(await one.read(keys.BROADCASTS))
    await one.splitter.split(lease)
    await one.planner.deliver(one.in_flight.claim(await one.read(keys.CHUNKS, 1)))
    assert await one.in_flight.wait_empty(10)
    assert len(await one.read(keys.CHUNKS)) == 1
    skipped = {"repeated": 1, "unknown_user": len(nobody)}
    maker.note_ping(ping_id, text, [token("dirk1"), registration("dora2")], (3, 0), skipped)


async def broadcast_between(maker: "Maker", one: WorkerCore, link: RedisConnection) -> None:
    """The first of three chunks is cut. Its piece is not claimed; the dead consumer holds the broadcast."""
    text = "a broadcast that is half cut"
    ping_id = await one.append(*_FANS, message=text)
    [lease] = await one.read(keys.BROADCASTS)
    entry = read_broadcast(lease.payload)
    ping = msgspec.structs.replace(entry.pings[0], id=ping_id, accepted_ms=entry.accepted_ms)
    store = BroadcastStore(link, RECEIPT_S)
    assert await store.split_users(lease, entry.batch_id, 0, [Chunk(ping, 0)], now_ms()) >= 0
    note_fans(maker, ping_id, text)


async def broadcast_before_splitting(maker: "Maker", one: WorkerCore) -> None:
    """Nobody has read it."""
    text = "a broadcast that is not cut"
    note_fans(maker, await one.append(*_FANS, message=text), text)


def note_fans(maker: "Maker", ping_id: str, text: str) -> None:
    fans = [token(f"fan{number}") for number in (0, 1, 400, 401, 402)]
    maker.note_ping(ping_id, text, fans, (5, 0), {"unknown_user": len(_FANS) - 5})


async def claimed(maker: "Maker", one: WorkerCore) -> None:
    """An entry that the dead consumer read and did nothing about."""
    ping_id = await one.append("wim", message="claimed")
    assert len(await one.read(keys.PINGS)) == 1
    maker.note_ping(ping_id, "claimed", [token("wim1")], (1, 0))


async def appended(maker: "Maker", one: WorkerCore) -> None:
    """Entries that nobody has read: two pings together, one alone for which a request waits, one for marked devices."""
    together = await asyncio.gather(*(one.append("wim", message=f"together {number}") for number in (1, 2)))
    for number, ping_id in enumerate(together, 1):
        maker.note_ping(ping_id, f"together {number}", [token("wim1")], (1, 0))
    waited = await one.append("quin", message="waited for", reply_to=keys.completion_channel(f"{_DEAD}:0"))
    maker.note_ping(waited, "waited for", [registration("quin1")], (1, 0))
    marked = await one.append("gil", message="for marked devices")
    maker.note_ping(marked, "for marked devices", [token("gil1"), token("away")], (2, 0), {"dead_token": 2})


async def changes(maker: "Maker", link: RedisConnection) -> None:
    """Data changes: a window that became a ping, and entries of the writers' stream, one of them read before."""
    windows = ChangeWindows(link, _LIMITS, window_ms=0, interval_ms=60_000, bounding=True)
    await windows.write([PendingChange(Change(("zed",), "Order"), bounded=True)])
    assert (await windows.close()).pings == 1
    for number, user in enumerate(("dirk", "fan000")):
        change = {"source": "Order", "user_id": user, "id": f"stream {number}"}
        await maker.redis.xadd(CHANGES, {"event": json.dumps(change)})
    found = await maker.redis.xreadgroup(keys.CHANGE_EVENT_GROUP, "gateway", {CHANGES: ">"}, count=1)
    assert len(found) == 1
    synced = [
        ["wim1", "Product"],
        ["zed1", "Order"],
        ["dirk1", "Order"],
        ["dora1", "Order"],
        ["fan0", "Order"],
    ]
    maker.notes.append({"synced": [[token(name), source] for name, source in synced]})


async def jobs(maker: "Maker", link: RedisConnection) -> None:
    """A job in the hand of a gateway that is dead, and one that nobody took."""
    store = ResqueStore(link, keys.ResqueKeys(), _DEAD, f"rhopush-{_DEAD}:1:ping")
    for number, text in enumerate(("a job that was taken", "a job that waits")):
        job = {"class": "Rhoconnect::PingJob", "args": [{"user_id": ["mia"], "message": text}]}
        await maker.redis.rpush("resque:queue:ping", json.dumps(job, separators=(",", ":")))
        if not number:
            assert len(await store.take(["ping"])) == 1
        maker.notes.append({"job": text, "to": [token("mia1"), token("mia2"), registration("mia3")]})
