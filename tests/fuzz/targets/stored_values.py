"""Values in Redis: queue entries, receipts, registrations, counters. Other programs may write them, too."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from gateway.delivery.provider_registry import installed
from gateway.fanout.recipients import INTERNAL_ERRORS, _number
from gateway.queue.broadcasts import decode_users
from gateway.queue.consumer import Streams
from gateway.queue.entries import Chunk, Entry, decode_chunk, decode_entry, leases_of
from gateway.queue.receipts import DeviceVerdict, PingRecord, Receipts, joined_errors, pack_base, pack_delta
from gateway.registry.change_log import ChangeLog
from gateway.registry.snapshots import Snapshot, SnapshotStore
from gateway.registry.user_devices import WIDTH, user_devices
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.command_encoding import pack
from gateway.store.connection import RedisConnection
from protocols.devices import Device, fit, select
from protocols.ping.model import Ping
from protocols.verdict import VerdictKind
from tests.fuzz.target import Open, Step, Target, plain
from tests.fuzz.targets.pings import NOW_S, compose
from tests.support.redis import RedisServer

BATCH: Final = f"{NOW_S * 1000:012x}" + "0" * 16
_PING: Final = Ping(id=BATCH + "0000", accepted_ms=NOW_S * 1000, users=("bob",), message="hello", badge=5)
_RECORD: Final = PingRecord(
    2, (("c1", "apns"),), (DeviceVerdict("c2", "fcm", VerdictKind.REJECTED, "Unregistered"),), {"dead": 1}
)


DEVICE_TYPES = installed().device_types


def _entry(data: bytes) -> None:
    """The entries that the queue's consumers decode: pings, retries, chunks of a broadcast."""
    (lease,) = leases_of(
        keys.PINGS, [(b"1-0", [b"e", data, b"n", data[:30], b"s", data[-30:]])], redelivered=False
    )
    pack(("SETTLE", lease.pings, lease.size))
    for decode in (decode_entry, decode_chunk, decode_users):
        try:
            found: Any = decode(data)
        except msgspec.DecodeError:  # as the planner does: they are put aside
            continue
        for ping in getattr(found, "pings", ()):
            with contextlib.suppress(*INTERNAL_ERRORS):  # as the planner does: such a ping is refused
                compose(ping)


def _registration(data: bytes) -> None:
    values: list[bytes | None] = [value or None for value in data.split(b"|")]
    width = WIDTH + 1
    values = (values + [None] * width)[: max(1, len(values) // width) * width]
    found = user_devices(values)
    for device in found.devices:
        fit(device, DEVICE_TYPES)
        _number(device.client_id)
        pack((keys.dead(device.client_id), device.pin, device.phone_id))
        msgspec.msgpack.decode(msgspec.msgpack.encode(device), type=Device)
    if found.devices:
        select(found.devices, set(), DEVICE_TYPES)


def _with_redis(make: Callable[[RedisConnection], Callable[[bytes], Coroutine[Any, Any, None]]]) -> Open:
    """A step that asks a real store, over the gateway's own connection."""

    @contextmanager
    def opened() -> Iterator[Step]:
        with RedisServer("valkey") as server, asyncio.Runner() as runner:
            link = runner.run(_linked(server.address))
            fetch = make(link)
            try:
                yield lambda data: runner.run(fetch(data))
            finally:
                runner.run(link.close())

    return opened


async def _linked(address: str) -> RedisConnection:
    link = RedisConnection(RedisAddress.parse(address), "fuzz")
    await link.open(30)
    return link


def _receipts(link: RedisConnection) -> Callable[[bytes], Coroutine[Any, Any, None]]:
    receipts = Receipts(link)

    async def step(data: bytes) -> None:
        parts = data.split(b"|")
        names = [b"base", b"0+1-0", b"0:open", b"0+" + parts[-1][:40], parts[0][:40]]
        await link.call("DEL", keys.receipt(BATCH))
        for name, value in zip(names, [*parts, b"", b"", b"", b""], strict=False):
            await link.call("HSET", keys.receipt(BATCH), name, value)
        report = await receipts.report(BATCH + "0000")
        if report is not None:
            joined_errors(report)
            msgspec.json.encode(report)
        await receipts.report(data[:40].decode("utf-8", "surrogateescape"))

    return step


def _counters(link: RedisConnection) -> Callable[[bytes], Coroutine[Any, Any, None]]:
    streams = Streams(link, "fuzz:0", 3_600)

    async def step(data: bytes) -> None:
        await link.call("HSET", keys.STATS, "pings", data)
        await link.call("HSET", keys.PARKED, data[:20], data)
        await streams.backlog()
        assert all(-(2**63) <= sends < 2**63 for sends in (await streams.parked()).values())
        await link.call("DEL", keys.PARKED)

    return step


def _snapshots(link: RedisConnection) -> Callable[[bytes], Coroutine[Any, Any, None]]:
    """The devices of a snapshot receive pings like devices that were just read."""
    change_log = ChangeLog()
    change_log.resume(1, {})
    snapshots = SnapshotStore(link, change_log)

    async def step(data: bytes) -> None:
        await link.call("SET", keys.snapshot("bob"), data)
        (found,) = snapshots.current(["bob"], await snapshots.fetch(["bob"]))
        if found is not None:
            select(found.devices, set(), DEVICE_TYPES)
            for device in found.devices:
                _number(device.client_id)
                pack((keys.dead(device.client_id), device.pin, device.phone_id))

    return step


_DEVICES: Final = (
    Device("c1", "APPLE", "", "ab" * 32, "phone", "com.example.app", NOW_S * 1000),
    Device("c2", "ANDROID", "fcm", "token", bad_at="fcm project"),
)
_CLIENT: Final = b"c1|bob|APPLE|fcm|token|phone|com.example.app|2026-11-24T10:00:00+0000|mark"
_NUMBERS: Final = (b"0", b"7", b"-7", b"1764540000000", b"x")
TARGETS: Final = (
    Target(
        "queue-entries",
        plain(_entry),
        tuple(
            msgspec.msgpack.encode(value)
            for value in (
                Entry(BATCH, NOW_S * 1000, (_PING, _PING)),
                Chunk(_PING, 3, ("c1",), 2, NOW_S, "lane", True),
                ["bob", "ann"],
            )
        ),
        (b"\xdf", b"\xdd", b"\xc1", b"\xcf"),
        tree="msgpack",
    ),
    Target(
        "registrations",
        plain(_registration),
        (_CLIENT, _CLIENT + b"|" + _CLIENT),
        (b"|", b"T", b"+0000", b"Z"),
    ),
    Target(
        "receipts",
        _with_redis(_receipts),
        (b"|".join((pack_base([_RECORD, _RECORD]), pack_delta(_RECORD), b"2", pack_delta(_RECORD))), b"|||"),
        (b"|", b"0+", b":open", b"base", b"-"),
        largest=8_192,
    ),
    Target(
        "snapshots",
        _with_redis(_snapshots),
        tuple(
            msgspec.msgpack.encode(Snapshot(at, _DEVICES, 1, 1, ("c3", "c4"), layout))
            for at, layout in ((7, 1), (1, 1), (0, 1), (7, 0))
        ),
        (b"\xdf", b"\xdd", b"\xc1", b"\xcf"),
        tree="msgpack",
        largest=16_384,
    ),
    Target("redis-counters", _with_redis(_counters), _NUMBERS, largest=8_192),
)
