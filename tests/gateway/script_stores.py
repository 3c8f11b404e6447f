"""The content of Redis before each case of `script_cases`, and the keys and arguments that several cases share."""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import redis

from gateway.store import keys
from gateway.store.connection import Script

Word = str | bytes | int | float


class Case(NamedTuple):
    """One call of a script.

    Attributes:
        seed: writes what the store holds before.
        names: KEYS.
        words: ARGV.
        writes: whether it writes anything.
        changes: whether what it writes differs from what the store holds before.
    """

    script: Script
    seed: Callable[[redis.Redis], object]
    names: Sequence[str]
    words: Sequence[Word]
    writes: bool = True
    changes: bool = True


BATCH = "0" * 28
RECEIPT = keys.receipt(BATCH)
PROGRESS = keys.progress(keys.PINGS, "1-0")
USERS = keys.broadcast_users(BATCH + "0000")
AWAITED_LOG = keys.awaited_syncs("one:0")
REACHED = keys.broadcast_devices(BATCH + "0000")
ONCE = keys.idempotency(b"scope")
LEADER, ENDPOINT = keys.webhook_leader("crm"), keys.webhook_endpoint("crm")
OTHER_ONCE = keys.idempotency(b"other scope")
TAKEN = keys.RESQUE_TAKEN + "one"
FUTURE_MS = 4_102_444_800_000  # the year 2100
CRC64_JONES = 0x95AC9329AC4BC9B5
MEMBER = '{"token":"tok1","appname":"app"}'
OTHER = '{"token":"tok2","appname":"other"}'


def put_leased(store: redis.Redis, stream: str = keys.PINGS) -> None:
    """A lease that is a second old: a renewal in the millisecond in which the lease began would change nothing."""
    store.xadd(stream, {"e": "entry", "n": 3, "s": 30}, id="1-0")
    store.xgroup_create(stream, keys.GROUP, "0")
    store.xreadgroup(keys.GROUP, "one:0", {stream: ">"})
    store.xclaim(stream, keys.GROUP, "one:0", 0, ["1-0"], idle=1000, justid=True)


def put_renewed_in_the_future(store: redis.Redis) -> None:
    """A lease that was renewed before Redis' clock was set back. No command makes one: XCLAIM stops at the present."""
    put_leased(store)
    dump = store.dump(keys.PINGS)
    assert dump is not None
    entry = (1).to_bytes(8, "big") + bytes(
        8
    )  # "1-0", first in the stream itself, then among the group's leases
    time_at = dump.index(entry, dump.index(entry) + len(entry)) + len(entry)
    changed = dump[:time_at] + FUTURE_MS.to_bytes(8, "little") + dump[time_at + 8 : -8]
    store.restore(keys.PINGS, 0, changed + put_crc64(changed).to_bytes(8, "little"), replace=True)


def put_crc64(data: bytes) -> int:
    """CRC-64 with Jones' polynomial, bits reflected: the checksum of DUMP."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CRC64_JONES if crc & 1 else 0)
    return crc


def put_counted(store: redis.Redis) -> None:
    store.hset(keys.STATS, mapping={"pings": 5, "bytes": 50, "receipt_bytes": 7})


def put_append(store: redis.Redis) -> None:
    store.xgroup_create(keys.PINGS, keys.GROUP, "0", mkstream=True)
    put_counted(store)


def put_once(store: redis.Redis) -> None:
    put_append(store)
    store.set(ONCE, "ab:" + "0" * 32, ex=1000)


def put_settle(store: redis.Redis) -> None:
    put_leased(store)
    put_counted(store)
    store.hset(PROGRESS, "verdicts", "packed")
    store.hset(RECEIPT, mapping={"0:open": 2, "size": 5})
    store.zadd(keys.RECEIPTS, {RECEIPT: 900})
    store.zadd(keys.SCHEDULE, {"other": 900})
    store.hset(keys.SCHEDULE_BODIES, "other", "body")
    store.hset(keys.PARKED, "lane", 4)
    store.hset(USERS, "0", "packed")
    store.hset(REACHED, "digest", "0")


def put_settle_with_events(store: redis.Redis) -> None:
    put_settle(store)
    store.hset(RECEIPT, mapping={"0:open": -1, "0:events_accepted": 3})
    put_outbox(store)


def put_outbox(store: redis.Redis) -> None:
    for number in range(1, 4):
        store.xadd(
            keys.WEBHOOK_EVENTS, {"s": 40, "q": number, "w": "packed", "b": BATCH, "d": ""}, id=f"{number}-0"
        )
    store.hset(keys.WEBHOOK_OUTBOX, mapping={"bytes": 120, "number": 3})


def put_endpoint(store: redis.Redis) -> None:
    put_outbox(store)
    store.set(LEADER, "one:0", px=30_000)
    store.hset(
        ENDPOINT, mapping={"cursor": "5000-1", "number": 2, "sent": "msg", "replay": 2000, "failed": 3}
    )
    store.hset(keys.WEBHOOK_CONDITIONS, "lane:one", "down")


def put_cut(store: redis.Redis) -> None:
    put_leased(store, keys.BROADCASTS)
    store.hset(PROGRESS, "cursor", "16")
    store.xadd(keys.CHUNKS, {"e": "piece", "n": 0, "s": 0}, id="1-0")
    store.hset(RECEIPT, mapping={"0:open": 17})
    store.zadd(keys.RECEIPTS, {RECEIPT: 900})


def put_split_everybody(store: redis.Redis) -> None:
    put_cut(store)
    store.hset(PROGRESS, "cursor", "2:abc:17")
    store.hset(USERS, mapping={"1000000": b"", "1": b"u0"})


def put_badges(store: redis.Redis) -> None:
    store.hset(
        keys.badge("c1"),
        mapping={"count": 3, "sync": "2026-01-01", "pings": f"{BATCH}0002=2 {BATCH}0003=3 "},
    )


def put_split(store: redis.Redis) -> None:
    put_settle(store)
    store.hset(PROGRESS, "cursor", "0:0:a")
    store.xadd(keys.CHUNKS, {"e": "piece", "n": 0, "s": 0}, id="1-0")


def put_due(store: redis.Redis) -> None:
    store.zadd(keys.SCHEDULE, {"one": 900, "lost": 950, "two": 999_999})
    store.hset(keys.SCHEDULE_BODIES, mapping={"one": "body", "two": "body"})
    store.xadd(keys.RETRIES, {"e": "piece", "n": 0, "s": 0}, id="1-0")


def put_scheduled(store: redis.Redis) -> None:
    put_counted(store)
    store.hset(keys.STATS, mapping={"scheduled_pings": 4, "scheduled_bytes": 40})
    broadcast = "1" * 28
    store.zadd(keys.SCHEDULED_PINGS, {BATCH: 900, broadcast: 950, "lost": 960, "later": 9_999_999_999_999})
    body = b"\x94\xbc" + BATCH.encode() + b"\x90\x00"
    bodies = {BATCH: b"3 30 p " + body, broadcast: b"1 10 b " + body, "later": b"1 10 p " + body}
    store.hset(keys.SCHEDULED_BODIES, mapping=bodies)
    store.hset(keys.broadcast_users(broadcast + "0000"), "0", "packed")
    store.xadd(keys.PINGS, {"e": "entry", "n": 1, "s": 9}, id="1-0")
    store.xadd(keys.BROADCASTS, {"e": "entry", "n": 1, "s": 9}, id="1-0")


def put_effects(store: redis.Redis) -> None:
    put_counted(store)
    store.rpush(AWAITED_LOG, "older", "old")
    store.hset(RECEIPT, mapping={"base": b"\x92\x90\x90", "size": 5, "0:synced": 2, "0:acked": 1})
    store.zadd(keys.RECEIPTS, {RECEIPT: 900})


def put_trim(store: redis.Redis) -> None:
    put_counted(store)
    for number in range(3):
        store.hset(keys.receipt(f"{number:028x}"), mapping={"base": "packed", "size": 6})
        store.zadd(keys.RECEIPTS, {keys.receipt(f"{number:028x}"): 900 + number})


def put_change_log(store: redis.Redis) -> None:
    store.hset(keys.CHANGE_LOG, mapping={"\0count": 7, "\0void": 5, "bob": 6})
    store.hset(keys.LISTENERS, "one", 3)
    store.set(keys.heartbeat("one"), "word", ex=1000)


def put_marked_change_log(store: redis.Redis) -> None:
    put_change_log(store)
    store.set(keys.dead("bob"), "digest:1:bad:da39a3ee:0011:BadDeviceToken")
    store.set(keys.dead("ann"), "0011:1:host::0011:BadDeviceToken")
    store.set(keys.client("bob", "last_sync"), "2026-11-24T10:00:00+0000")


def put_proof(store: redis.Redis) -> None:
    store.hset(keys.credential_proof("one"), "bad", 2)


def put_samples(store: redis.Redis) -> None:
    store.set(keys.CONSOLE_RECORDER, "one")
    store.rpush(keys.console_history("5s"), b"older")


def put_windows(store: redis.Redis) -> None:
    put_counted(store)
    store.zadd(keys.WINDOWS, {"bob": 5, "ann": 6})
    store.zadd(keys.WINDOW + "bob", {"Product": 5, "Order": 9_999_999_999_999})
    store.zadd(keys.WINDOW + "ann", {"Product": 6})
    store.hset(keys.PUSHED + "bob", mapping={"last": 3, "before": 2, "=Product": 3})
    store.xadd(keys.PINGS, {"e": "entry", "n": 1, "s": 9}, id="1-0")


def put_events(store: redis.Redis) -> None:
    store.hset(
        keys.CHANGE_EVENTS,
        mapping={"holder": "one", "until": 5, "heard": 4, "mark": "one#1", "since": 10**15},
    )


def put_resque(store: redis.Redis) -> None:
    put_counted(store)
    store.rpush("resque:queue:ping", '{"class":"PingJob","args":[{}]}', '{"class":"Other"}')
    store.rpush("resque:queue:more", '{"class":"PingJob","args":[{}]}')
    store.hset(TAKEN, mapping={"a": "ping\0{}", "b": "ping\0{}"})
    store.hset(keys.RESQUE_TAKEN + "gone", mapping={"c": "ping\0{}"})
    store.zadd(keys.RESQUE_TAKERS, {"one": 5, "gone": 1})
    store.rpush("resque:failed", "{}")
    for name in ("processed", "processed:w", "failed", "failed:w"):
        store.set(f"resque:stat:{name}", 5)
    store.xadd(keys.PINGS, {"e": "entry", "n": 1, "s": 9}, id="1-0")


def put_cancelled(store: redis.Redis) -> None:
    ping = BATCH + "0000"
    store.zadd(keys.CANCELLED, {ping: FUTURE_MS, "2" * 32: FUTURE_MS})
    store.mset({keys.CANCELLED_VERSION: "one", keys.CANCELLED_SWEPT: "one"})
    store.hset(RECEIPT, mapping={"0:open": 1, "0:cancelled": 900})
    store.hset(keys.receipt("2" * 28), mapping={"base": "packed"})
    store.zadd(keys.RECEIPTS, {RECEIPT: 900})
    store.zadd(keys.SCHEDULE, {"one": FUTURE_MS, "two": FUTURE_MS})
    body = b"\x97\xdc\x00\x10\xd9\x20"
    store.hset(keys.SCHEDULE_BODIES, mapping={"one": body + ping.encode(), "two": body + b"3" * 32})


def put_mailbox(store: redis.Redis) -> None:
    store.sadd(keys.MAILBOX_REGISTRATIONS + "phone", MEMBER, OTHER)
    store.mset({keys.MAILBOX_INSTANCE_OF + "tok1": "phone", keys.MAILBOX_INSTANCE_OF + "tok2": "phone"})
    store.set(keys.MAILBOX_COUNTER + "phone", 9)
    messages = {f'{{"id":{n},"token":"tok{n - 7}","data":{{}}}}': n for n in (8, 9)}
    store.zadd(keys.MAILBOX_QUEUE + "phone", messages)
    store.zadd(keys.MAILBOX_COLLAPSE + "phone", {"c:app": 8, "~9:other": 9})


def put_put_aside(store: redis.Redis) -> None:
    put_settle(store)
    store.xadd(keys.UNREADABLE, {"size": 10, "stream": "pings"}, id="1-0")
    store.hset(keys.STATS, "unreadable_bytes", 10)


def put_idle(store: redis.Redis) -> None:
    put_leased(store)
    for name in ("gone:0", "working:0"):
        store.xgroup_createconsumer(keys.PINGS, keys.GROUP, name)


def put_requeue(store: redis.Redis) -> None:
    put_put_aside(store)
    store.hset(RECEIPT, "0+1-0", "verdict")


def put_client(store: redis.Redis) -> None:
    put_mailbox(store)
    fields = {"user_id": "eve", "device_pin": "tok1", "phone_id": "p", "device_app_id": "app"}
    store.mset({keys.client("c1", name): text for name, text in fields.items()})
    store.mset({keys.client("c2", name): text for name, text in {**fields, "device_pin": "tok2"}.items()})
    store.sadd("user:eve:clients", "c1", "c2")
    store.sadd("user:bob:clients", "c3")
    for client, token in (("c1", "tok1"), ("c2", "tok2")):
        store.sadd(keys.HOLDERS + hashlib.sha1(token.encode()).hexdigest(), client)
    store.set("client:count", 2)


def put_users(store: redis.Redis) -> None:
    store.mset({keys.user("bob", name): "bob" for name in ("rho__id", "login", "salt", "hashed_password")})
    store.sadd(keys.APP_USERS, "bob")
    store.set(keys.count("user"), 1)


def put_nothing(_: redis.Redis) -> None:
    """Leave the store empty."""


def put_logins(store: redis.Redis) -> None:
    for name in ("l1", "l2"):
        store.hset(name, mapping={"tried": 3, "failed": 2})
        store.pexpire(name, 50_000)


ACCOUNT_KEYS = [keys.user("eve", "rho__id"), keys.APP_USERS, keys.count("user")]
ACCOUNT_KEYS += [keys.app("rho__id"), keys.app("name"), keys.user("eve", "login"), keys.user("eve", "salt")]
CLIENT: list[Word] = ["write", "bob", "c1", 1000, 100, keys.MAILBOX_WAKE, 1]
CLIENT += ["user_id", "bob", "device_pin", "tok2", "device_app_id", "app"]
APPEND: list[Word] = [3, 30, 1000, 10_000, 600, b"\x94entry", keys.GROUP, "one:0"]
APPEND_ONCE: list[Word] = [*APPEND, 86400, f"ab:{BATCH}0000", f"cd:{BATCH}0001"]
APPEND_KEYS = [keys.PINGS, keys.marker(BATCH, 0), keys.STATS]
SCHEDULE: list[Word] = [3, 30, 1000, 10_000, 600, b"3 30 p body", 9_999_999_999_999, "2" * 28]
SCHEDULE_KEYS = [keys.SCHEDULED_PINGS, keys.marker("2" * 28, 0), keys.STATS]
SCHEDULED_BODY = b"3 30 p \x94\xbc" + BATCH.encode() + b"\x90\x00"
CANCEL_SCHEDULED: list[Word] = [BATCH, hashlib.sha1(SCHEDULED_BODY, usedforsecurity=False).hexdigest()]
CANCEL_SCHEDULED += [b"2 20 p body", 10, 1, b"record", 3600, 1_000, b"events"]
CANCEL_SCHEDULED_KEYS = [keys.SCHEDULED_PINGS, keys.SCHEDULED_BODIES, keys.STATS, RECEIPT, keys.RECEIPTS]
CANCEL_SCHEDULED_KEYS += [keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX]
SETTLE: list[Word] = [keys.GROUP, "1-0", 1000, 3600, 3, 30]
SETTLE += [2, RECEIPT, "base", b"packed", 0, RECEIPT, "0:open", 1, 1]
SETTLE += [1, "pings:1-0.0", 5000, b"body", "lane", 2]
SETTLE += [1, "rhopush:done:x", BATCH + "0000", RECEIPT, "0:open", b"record"]
SETTLE += [1, "lane", 1, 1, USERS, 0, REACHED]
SETTLE_KEYS = [
    keys.PINGS,
    keys.STATS,
    PROGRESS,
    keys.SCHEDULE,
    keys.SCHEDULE_BODIES,
    keys.RECEIPTS,
    keys.PARKED,
]
EVENTS: list[Word] = [180, b"body", BATCH, b"traces", 1, RECEIPT, 0, 2, 1, 0, 0]
EVENT_KEYS = [*SETTLE_KEYS, keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX]
CONDITION_KEYS = [keys.WEBHOOK_CONDITIONS, keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX]
HEAR: list[Word] = [100, 60_000, 3600, "change", "Product", 0, 2, "bob", "ann", "", "Order", 1, 1, "bob"]
CLOSE: list[Word] = [
    b"\x94head",
    b"before",
    b"between",
    b"behind",
    b"tail",
    200,
    200,
    1000,
    100_000,
    60_000,
    90_000,
]
RESQUE_KEYS = ["resque:pause-all-workers", TAKEN, keys.RESQUE_TAKERS]
COUNTS = ["resque:stat:processed", "resque:stat:processed:w"]
FINISH_KEYS = [TAKEN, *COUNTS, "resque:failed", "resque:stat:failed", "resque:stat:failed:w"]
ENQUEUE: list[Word] = [
    1000,
    900,
    2,
    50,
    keys.MAILBOX_WAKE,
    "tok1",
    "",
    b"{}",
    "c",
    "",
    "tok2",
    "other",
    b"{}",
    "",
    "n",
]
PUT_ASIDE: list[Word] = [keys.GROUP, "1-0", 3, 30, 10, 10_000, 25, 3600, 1000]
PUT_ASIDE += [2, "base", b"packed", 0, "0:open", -1, 1, 1, "rhopush:done:x", BATCH + "0000"]
PUT_ASIDE += ["stream", keys.PINGS, "reason", "no pings"]
