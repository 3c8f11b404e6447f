"""For each Lua script of the gateway: what a store holds before, and calls as the gateway makes them.

The keys and arguments are those of production; `test_scripts` damages them one by one.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import redis

from gateway.change_events import scripts as event_scripts
from gateway.console import recorder
from gateway.delivery import proofs, quota
from gateway.mailbox import scripts as mailbox_scripts
from gateway.queue import (
    batch_search,
    idle_consumers,
    lane_resets,
    quarantine,
    schedule,
    scripts,
    unreadable,
    worker_reports,
)
from gateway.registry import change_log_scripts, client_scripts, login_limits, token_marks
from gateway.resque import scripts as resque_scripts
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
    """

    script: Script
    seed: Callable[[redis.Redis], object]
    names: Sequence[str]
    words: Sequence[Word]
    writes: bool = True


BATCH = "0" * 28
RECEIPT = keys.receipt(BATCH)
PROGRESS = keys.progress(keys.PINGS, "1-0")
USERS = keys.broadcast_users(BATCH + "0000")
REACHED = keys.broadcast_devices(BATCH + "0000")
ONCE = keys.idempotency(b"scope")
OTHER_ONCE = keys.idempotency(b"other scope")
TAKEN = keys.RESQUE_TAKEN + "one"
_FUTURE_MS = 4_102_444_800_000  # the year 2100
_CRC64_JONES = 0x95AC9329AC4BC9B5
MEMBER = '{"token":"tok1","appname":"app"}'
OTHER = '{"token":"tok2","appname":"other"}'


def _leased(store: redis.Redis, stream: str = keys.PINGS) -> None:
    store.xadd(stream, {"e": "entry", "n": 3, "s": 30}, id="1-0")
    store.xgroup_create(stream, keys.GROUP, "0")
    store.xreadgroup(keys.GROUP, "one:0", {stream: ">"})


def _renewed_in_the_future(store: redis.Redis) -> None:
    """A lease that was renewed before Redis' clock was set back. No command makes one: XCLAIM stops at the present."""
    _leased(store)
    dump = store.dump(keys.PINGS)
    assert dump is not None
    entry = (1).to_bytes(8, "big") + bytes(
        8
    )  # "1-0", first in the stream itself, then among the group's leases
    time_at = dump.index(entry, dump.index(entry) + len(entry)) + len(entry)
    changed = dump[:time_at] + _FUTURE_MS.to_bytes(8, "little") + dump[time_at + 8 : -8]
    store.restore(keys.PINGS, 0, changed + _crc64(changed).to_bytes(8, "little"), replace=True)


def _crc64(data: bytes) -> int:
    """CRC-64 with Jones' polynomial, bits reflected: the checksum of DUMP."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CRC64_JONES if crc & 1 else 0)
    return crc


def _counted(store: redis.Redis) -> None:
    store.hset(keys.STATS, mapping={"pings": 5, "bytes": 50, "receipt_bytes": 7})


def _append(store: redis.Redis) -> None:
    store.xgroup_create(keys.PINGS, keys.GROUP, "0", mkstream=True)
    _counted(store)


def _once(store: redis.Redis) -> None:
    _append(store)
    store.set(ONCE, "ab:" + "0" * 32, ex=1000)


def _settle(store: redis.Redis) -> None:
    _leased(store)
    _counted(store)
    store.hset(PROGRESS, "verdicts", "packed")
    store.hset(RECEIPT, mapping={"0:open": 2, "size": 5})
    store.zadd(keys.RECEIPTS, {RECEIPT: 900})
    store.zadd(keys.SCHEDULE, {"other": 900})
    store.hset(keys.SCHEDULE_BODIES, "other", "body")
    store.hset(keys.PARKED, "lane", 4)
    store.hset(USERS, "0", "packed")
    store.hset(REACHED, "digest", "0")


def _cut(store: redis.Redis) -> None:
    _leased(store, keys.BROADCASTS)
    store.hset(PROGRESS, "cursor", "16")
    store.xadd(keys.CHUNKS, {"e": "piece", "n": 0, "s": 0}, id="1-0")
    store.hset(RECEIPT, mapping={"0:open": 17})
    store.zadd(keys.RECEIPTS, {RECEIPT: 900})


def _split(store: redis.Redis) -> None:
    _settle(store)
    store.hset(PROGRESS, "cursor", "0:0:a")
    store.xadd(keys.CHUNKS, {"e": "piece", "n": 0, "s": 0}, id="1-0")


def _due(store: redis.Redis) -> None:
    store.zadd(keys.SCHEDULE, {"one": 900, "lost": 950, "two": 999_999})
    store.hset(keys.SCHEDULE_BODIES, mapping={"one": "body", "two": "body"})
    store.xadd(keys.RETRIES, {"e": "piece", "n": 0, "s": 0}, id="1-0")


def _scheduled(store: redis.Redis) -> None:
    _counted(store)
    store.hset(keys.STATS, mapping={"scheduled_pings": 4, "scheduled_bytes": 40})
    broadcast = "1" * 28
    store.zadd(keys.SCHEDULED_PINGS, {BATCH: 900, broadcast: 950, "lost": 960, "later": 9_999_999_999_999})
    body = b"\x94\xbc" + BATCH.encode() + b"\x90\x00"
    bodies = {BATCH: b"3 30 p " + body, broadcast: b"1 10 b " + body, "later": b"1 10 p " + body}
    store.hset(keys.SCHEDULED_BODIES, mapping=bodies)
    store.hset(keys.broadcast_users(broadcast + "0000"), "0", "packed")
    store.xadd(keys.PINGS, {"e": "entry", "n": 1, "s": 9}, id="1-0")
    store.xadd(keys.BROADCASTS, {"e": "entry", "n": 1, "s": 9}, id="1-0")


def _trim(store: redis.Redis) -> None:
    _counted(store)
    for number in range(3):
        store.hset(keys.receipt(f"{number:028x}"), mapping={"base": "packed", "size": 6})
        store.zadd(keys.RECEIPTS, {keys.receipt(f"{number:028x}"): 900 + number})


def _change_log(store: redis.Redis) -> None:
    store.hset(keys.CHANGE_LOG, mapping={"\0count": 7, "\0void": 5, "bob": 6})
    store.hset(keys.LISTENERS, "one", 3)
    store.set(keys.heartbeat("one"), "word", ex=1000)


def _marked_change_log(store: redis.Redis) -> None:
    _change_log(store)
    store.set(keys.dead("bob"), "digest:1:bad:da39a3ee:0011:BadDeviceToken")
    store.set(keys.dead("ann"), "0011:1:host::0011:BadDeviceToken")
    store.set(keys.client("bob", "last_sync"), "2026-11-24T10:00:00+0000")


def _proof(store: redis.Redis) -> None:
    store.hset(keys.credential_proof("one"), "bad", 2)


def _samples(store: redis.Redis) -> None:
    store.set(keys.CONSOLE_RECORDER, "one")
    store.rpush(keys.console_history("5s"), b"older")


def _windows(store: redis.Redis) -> None:
    _counted(store)
    store.zadd(keys.WINDOWS, {"bob": 5, "ann": 6})
    store.zadd(keys.WINDOW + "bob", {"Product": 5, "Order": 9_999_999_999_999})
    store.zadd(keys.WINDOW + "ann", {"Product": 6})
    store.hset(keys.PUSHED + "bob", mapping={"last": 3, "before": 2, "=Product": 3})
    store.xadd(keys.PINGS, {"e": "entry", "n": 1, "s": 9}, id="1-0")


def _events(store: redis.Redis) -> None:
    store.hset(
        keys.CHANGE_EVENTS,
        mapping={"holder": "one", "until": 5, "heard": 4, "mark": "one#1", "since": 10**15},
    )


def _resque(store: redis.Redis) -> None:
    _counted(store)
    store.rpush("resque:queue:ping", '{"class":"PingJob","args":[{}]}', '{"class":"Other"}')
    store.rpush("resque:queue:more", '{"class":"PingJob","args":[{}]}')
    store.hset(TAKEN, mapping={"a": "ping\0{}", "b": "ping\0{}"})
    store.hset(keys.RESQUE_TAKEN + "gone", mapping={"c": "ping\0{}"})
    store.zadd(keys.RESQUE_TAKERS, {"one": 5, "gone": 1})
    store.rpush("resque:failed", "{}")
    for name in ("processed", "processed:w", "failed", "failed:w"):
        store.set(f"resque:stat:{name}", 5)
    store.xadd(keys.PINGS, {"e": "entry", "n": 1, "s": 9}, id="1-0")


def _mailbox(store: redis.Redis) -> None:
    store.sadd(keys.MAILBOX_REGISTRATIONS + "phone", MEMBER, OTHER)
    store.mset({keys.MAILBOX_INSTANCE_OF + "tok1": "phone", keys.MAILBOX_INSTANCE_OF + "tok2": "phone"})
    store.set(keys.MAILBOX_COUNTER + "phone", 9)
    messages = {f'{{"id":{n},"token":"tok{n - 7}","data":{{}}}}': n for n in (8, 9)}
    store.zadd(keys.MAILBOX_QUEUE + "phone", messages)
    store.zadd(keys.MAILBOX_COLLAPSE + "phone", {"c:app": 8, "~9:other": 9})


def _put_aside(store: redis.Redis) -> None:
    _settle(store)
    store.xadd(keys.UNREADABLE, {"size": 10, "stream": "pings"}, id="1-0")
    store.hset(keys.STATS, "unreadable_bytes", 10)


def _idle(store: redis.Redis) -> None:
    _leased(store)
    for name in ("gone:0", "working:0"):
        store.xgroup_createconsumer(keys.PINGS, keys.GROUP, name)


def _requeue(store: redis.Redis) -> None:
    _put_aside(store)
    store.hset(RECEIPT, "0+1-0", "verdict")


def _client(store: redis.Redis) -> None:
    _mailbox(store)
    fields = {"user_id": "eve", "device_pin": "tok1", "phone_id": "p", "device_app_id": "app"}
    store.mset({keys.client("c1", name): text for name, text in fields.items()})
    store.mset({keys.client("c2", name): text for name, text in {**fields, "device_pin": "tok2"}.items()})
    store.sadd("user:eve:clients", "c1", "c2")
    store.sadd("user:bob:clients", "c3")
    for client, token in (("c1", "tok1"), ("c2", "tok2")):
        store.sadd(keys.HOLDERS + hashlib.sha1(token.encode()).hexdigest(), client)
    store.set("client:count", 2)


def _logins(store: redis.Redis) -> None:
    for name in ("l1", "l2"):
        store.hset(name, mapping={"tried": 3, "failed": 2})
        store.pexpire(name, 50_000)


_CLIENT: list[Word] = ["write", "bob", "c1", 1000, 100, keys.MAILBOX_WAKE, 1]
_CLIENT += ["user_id", "bob", "device_pin", "tok2", "device_app_id", "app"]
_APPEND: list[Word] = [3, 30, 1000, 10_000, 600, b"\x94entry", keys.GROUP, "one:0"]
_APPEND_ONCE: list[Word] = [*_APPEND, 86400, f"ab:{BATCH}0000", f"cd:{BATCH}0001"]
_APPEND_KEYS = [keys.PINGS, keys.marker(BATCH, 0), keys.STATS]
_SCHEDULE: list[Word] = [3, 30, 1000, 10_000, 600, b"3 30 p body", 9_999_999_999_999, "2" * 28]
_SCHEDULE_KEYS = [keys.SCHEDULED_PINGS, keys.marker("2" * 28, 0), keys.STATS]
_SETTLE: list[Word] = [keys.GROUP, "1-0", 1000, 3600, 3, 30]
_SETTLE += [2, RECEIPT, "base", b"packed", 0, RECEIPT, "0:open", 1, 1]
_SETTLE += [1, "pings:1-0.0", 5000, b"body", "lane", 2]
_SETTLE += [1, "rhopush:done:x", BATCH + "0000", RECEIPT, "0:open", b"record"]
_SETTLE += [1, "lane", 1, 1, USERS, 0, REACHED]
_SETTLE_KEYS = [
    keys.PINGS,
    keys.STATS,
    PROGRESS,
    keys.SCHEDULE,
    keys.SCHEDULE_BODIES,
    keys.RECEIPTS,
    keys.PARKED,
]
_HEAR: list[Word] = [100, 60_000, 3600, "change", "Product", 0, 2, "bob", "ann", "", "Order", 1, 1, "bob"]
_CLOSE: list[Word] = [
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
_RESQUE_KEYS = ["resque:pause-all-workers", TAKEN, keys.RESQUE_TAKERS]
_COUNTS = ["resque:stat:processed", "resque:stat:processed:w"]
_FINISH_KEYS = [TAKEN, *_COUNTS, "resque:failed", "resque:stat:failed", "resque:stat:failed:w"]
_ENQUEUE: list[Word] = [
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
_PUT_ASIDE: list[Word] = [keys.GROUP, "1-0", 3, 30, 10, 10_000, 25, 3600, 1000]
_PUT_ASIDE += [2, "base", b"packed", 0, "0:open", -1, 1, 1, "rhopush:done:x", BATCH + "0000"]
_PUT_ASIDE += ["stream", keys.PINGS, "reason", "no pings"]

CASES: dict[str, Case] = {
    "append": Case(scripts.APPEND, _append, _APPEND_KEYS, _APPEND),
    "append once": Case(scripts.APPEND, _append, [*_APPEND_KEYS, ONCE, OTHER_ONCE], _APPEND_ONCE),
    "append again": Case(scripts.APPEND, _once, [*_APPEND_KEYS, ONCE, OTHER_ONCE], _APPEND_ONCE),
    "schedule": Case(schedule.SCHEDULE, _scheduled, _SCHEDULE_KEYS, _SCHEDULE),
    "schedule once": Case(
        schedule.SCHEDULE, _scheduled, [*_SCHEDULE_KEYS, ONCE], [*_SCHEDULE, 86400, f"ab:{BATCH}0000"]
    ),
    "release scheduled": Case(
        schedule.RELEASE_SCHEDULED,
        _scheduled,
        [keys.SCHEDULED_PINGS, keys.SCHEDULED_BODIES, keys.STATS, keys.PINGS, keys.BROADCASTS],
        [2000, 200, 500, 600, 3600],
    ),
    "fence": Case(scripts.FENCE, _counted, [keys.marker(BATCH, 0)], [600]),
    "fence again": Case(
        scripts.FENCE,
        lambda store: store.set(keys.marker(BATCH, 0), "1-0", ex=100),
        [keys.marker(BATCH, 0)],
        [600],
    ),
    "settle": Case(scripts.SETTLE, _settle, _SETTLE_KEYS, _SETTLE),
    "settle nothing": Case(
        scripts.SETTLE, _settle, _SETTLE_KEYS, [keys.GROUP, "1-0", 1000, 3600, 0, 0, 0, 0, 0, 0, 0]
    ),
    "reset lane": Case(
        lane_resets.RECORD,
        lambda store: store.hset(keys.LANE_RESETS, mapping={"number": 3, "lane:apns:A": 2}),
        [keys.LANE_RESETS],
        ["apns:A", 3600],
    ),
    "find batch": Case(
        batch_search.FIND,
        lambda store: store.xadd(keys.PINGS, {"e": b"\x94\xbc" + BATCH.encode()}, id="5-0"),
        [keys.PINGS],
        ["XRANGE", "0", "9", 1, BATCH],
        writes=False,
    ),
    "remove idle consumers": Case(
        idle_consumers.REMOVE_IDLE, _idle, [keys.PINGS], [keys.GROUP, 0, "working:0"]
    ),
    "drop record": Case(quarantine.DROP, _put_aside, [keys.UNREADABLE, keys.STATS], ["1-0"]),
    "requeue": Case(
        quarantine.REQUEUE,
        _requeue,
        [keys.UNREADABLE, keys.STATS, keys.RETRIES, RECEIPT],
        ["1-0", 3, 30, "0+1-0", "0:open", "e", b"entry", "n", 3],
    ),
    "remove reports": Case(
        worker_reports.REMOVE_UNCHANGED,
        lambda store: store.hset(keys.WORKER_REPORTS, mapping={"a:0": "packed", "b:0": "packed"}),
        [keys.WORKER_REPORTS],
        ["a:0", b"packed", "b:0", b"other"],
    ),
    "save": Case(
        scripts.SAVE, _settle, [keys.PINGS, PROGRESS], [keys.GROUP, "one:0", "1-0", 3600, b"verdicts"]
    ),
    "renew": Case(scripts.RENEW, _leased, [keys.PINGS], [keys.GROUP, "one:0", "1-0", "2-0"]),
    "touch": Case(scripts.FIX_FUTURE_LEASES, _renewed_in_the_future, [keys.PINGS], [keys.GROUP, "-", 100]),
    "release": Case(scripts.RELEASE, _leased, [keys.PINGS], [keys.GROUP, "one:0", 20_000]),
    "cut": Case(
        scripts.SPLIT_USERS,
        _cut,
        [keys.BROADCASTS, PROGRESS, keys.CHUNKS, RECEIPT, keys.RECEIPTS],
        ["1-0", 16, 18, 3600, 1000, 3600, b"one", b"two"],
    ),
    "split": Case(
        scripts.SPLIT_DEVICES,
        _split,
        [keys.PINGS, PROGRESS, keys.CHUNKS, RECEIPT, keys.RECEIPTS],
        ["1-0", "0:0:a", "0:0:b", 3600, 1000, 3600, "0:open", 1, b"one", b"two"],
    ),
    "claim": Case(scripts.CLAIM, _settle, [REACHED], [1, 3600, "digest", "fresh"]),
    "due": Case(
        scripts.RELEASE_DUE,
        _due,
        [keys.SCHEDULE, keys.SCHEDULE_BODIES, keys.RETRIES, keys.STATS],
        [100, 1000, 5000],
    ),
    "trim": Case(scripts.TRIM, _trim, [keys.RECEIPTS, keys.STATS], [1000, 1_000_000, 500, 5000]),
    "trim bytes": Case(scripts.TRIM, _trim, [keys.RECEIPTS, keys.STATS], [10**15, 1, 500, 5000]),
    "put aside": Case(
        unreadable.QUARANTINE,
        _put_aside,
        [keys.PINGS, keys.STATS, PROGRESS, keys.UNREADABLE, RECEIPT, keys.RECEIPTS],
        _PUT_ASIDE,
    ),
    "draw": Case(
        quota._DRAW,
        lambda store: store.hset(keys.quota("lane"), mapping={"tokens": 3.5, "at": 5}),
        [keys.quota("lane")],
        [2, 10.5, 20.0],
    ),
    "journal beat": Case(
        change_log_scripts.HEARTBEAT,
        _change_log,
        [keys.CHANGE_LOG, keys.LISTENERS, keys.heartbeat("one")],
        ["one", "new word", 3600],
    ),
    "journal begun": Case(
        change_log_scripts.HEARTBEAT,
        _counted,
        [keys.CHANGE_LOG, keys.LISTENERS, keys.heartbeat("one")],
        ["one", "new word", 3600],
    ),
    "journal lapse": Case(
        change_log_scripts.RECORD_LAPSE, _change_log, [keys.CHANGE_LOG, keys.LISTENERS], ["one"]
    ),
    "journal write": Case(
        change_log_scripts.RECORD_CHANGES, _change_log, [keys.CHANGE_LOG], [100, "bob", "ann"]
    ),
    "journal full": Case(
        change_log_scripts.RECORD_CHANGES, _change_log, [keys.CHANGE_LOG], [3, "bob", "ann"]
    ),
    "journal write with marks": Case(
        change_log_scripts.RECORD_CHANGES,
        _marked_change_log,
        [keys.CHANGE_LOG, keys.dead("bob"), keys.dead("ann"), keys.dead("none")],
        [100, "bob", "ann"],
    ),
    "mark a token": Case(
        token_marks.MARK,
        _marked_change_log,
        [keys.dead("bob"), keys.client("bob", "last_sync")],
        ["digest:1:gone:", "::Unregistered", 60],
    ),
    "record a sample": Case(
        recorder.RECORD,
        _samples,
        [keys.CONSOLE_RECORDER, keys.console_history("5s")],
        ["one", 12_000, b"sample", 61, 100],
    ),
    "an acceptance": Case(proofs.ACCEPTED, _proof, [keys.credential_proof("one")], [1000]),
    "a bad token": Case(proofs.COUNT, _proof, [keys.credential_proof("one")], [1]),
    "hear": Case(event_scripts.WRITE_CHANGES, _windows, [keys.WINDOWS], _HEAR),
    "close": Case(event_scripts.CLOSE_WINDOWS, _windows, [keys.WINDOWS, keys.PINGS, keys.STATS], _CLOSE),
    "lead": Case(event_scripts.HOLD_LEASE, _events, [keys.CHANGE_EVENTS], ["one", 2000, "one#2", 5000, 1500]),
    "stand by": Case(event_scripts.HOLD_LEASE, _events, [keys.CHANGE_EVENTS], ["two", 2000, "", 0, 10**15]),
    "yield": Case(event_scripts.RELEASE_LEASE, _events, [keys.CHANGE_EVENTS], ["one"]),
    "take": Case(
        resque_scripts.TAKE,
        _resque,
        [*_RESQUE_KEYS, "resque:queue:ping", "resque:queue:more"],
        ["one", BATCH, 100, 1_000_000, 200, 1, "PingJob", "ping", "more"],
    ),
    "admit": Case(
        resque_scripts.ADMIT,
        _resque,
        [TAKEN, keys.PINGS, keys.STATS, *_COUNTS],
        [2, 4, 1000, 10_000, b"entry", "a", "b"],
    ),
    "finish": Case(resque_scripts.FINISH, _resque, _FINISH_KEYS, ["a", ""]),
    "fail": Case(resque_scripts.FINISH, _resque, _FINISH_KEYS, ["a", b"record"]),
    "inherit": Case(
        resque_scripts.TAKE_OVER, _resque, [keys.RESQUE_TAKERS, TAKEN], ["one", 1000, keys.RESQUE_TAKEN, 5000]
    ),
    "enqueue": Case(mailbox_scripts.ENQUEUE, _mailbox, [], _ENQUEUE),
    "poll": Case(
        mailbox_scripts.POLL, _mailbox, [], [1000, 900, keys.MAILBOX_WAKE, "me", "phone", 8, "nobody", 0]
    ),
    "register": Case(
        mailbox_scripts.REGISTER, _mailbox, [], [1000, 64, 50, "phone", "third", "tok3", "{}", "", 0]
    ),
    "register again": Case(
        mailbox_scripts.REGISTER, _mailbox, [], [1000, 64, 50, "phone", "app", "tok3", "{}", "", 0]
    ),
    "register for another": Case(
        mailbox_scripts.REGISTER, _mailbox, [], [1000, 64, 50, "phone", "app", "tok3", "{}", "eve", 0]
    ),
    "end tokens": Case(mailbox_scripts.END_TOKENS, _mailbox, [], [keys.MAILBOX_WAKE, 50, 1, "tok1", "tok2"]),
    "look up": Case(mailbox_scripts.LOOK_UP, _mailbox, [], [1000, "phone", "app", ""]),
    "unregister": Case(mailbox_scripts.UNREGISTER, _mailbox, [], [keys.MAILBOX_WAKE, 50, "phone", "app"]),
    "register a client": Case(client_scripts.REGISTER, _client, [], _CLIENT),
    "delete a client": Case(client_scripts.DELETE, _client, [], ["c1", "device_pin", "phone_id"]),
    "reserve a login": Case(login_limits._RESERVE, _logins, ["l1", "l2", "l3"], [60_000, 10, 100, 0]),
    "settle a login": Case(login_limits._ADJUST, _logins, ["l1", "l2", "l3"], [-1, 1]),
    "forget": Case(mailbox_scripts.END_INSTANCE, _mailbox, [], [50, "phone"]),
}
