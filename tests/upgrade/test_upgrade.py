"""A gateway of this version finishes what the gateways of an earlier one left in Redis when they were killed.

The dump was made by the earlier version (`make_dump`). Its notes say what each device is still to get.
"""

import asyncio
import base64
import contextlib
import fnmatch
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.queue.entries import read_chunk, read_entry
from gateway.simulators import SimulatedRecord
from gateway.simulators.rhoconnect_push_device import RhoConnectPushDevice
from gateway.store import keys
from protocols.devices import FCM, RHOCONNECT_PUSH
from protocols.ping.model import CHANGE_EVENTS, HTTP
from protocols.push_tokens import APNS
from tests.support.constants import SHORT_LEASES
from tests.support.worker import Worker, working
from tests.upgrade import dump
from tests.upgrade.dump import Dump
from tests.upgrade.stand import (
    AWAY_MS,
    CHANGES,
    DEVICE,
    DUMP,
    GUESSED,
    PASSWORD,
    SOURCES,
    Providers,
    place,
    providers,
)

PATIENCE_S = 90
DUMP_BYTES = 300_000
RESQUE_QUEUE = "resque:queue:ping"
UNREADABLE_BEFORE = 1
RPS = "\\u00a3rps"
"""The provider of RhoConnect Push and the name of its lane, as the earlier version packed them, in JSON."""

STORED = (
    *("user:*:login", "user:*:clients", "client:*:device_pin", "app:application:users", "api_token:*:value"),
    *("reg:*", "tok:*", "cnt:*", "que:*", "col:*", "rhopush:rps:secret"),
    *("resque:queues", "resque:queue:ping", "resque:failed", "resque:workers", "resque:workers:heartbeat"),
    *("resque:worker:*:started", "resque:stat:processed", "resque:stat:failed:*"),
    *("rhopush:session_secret", "rhopush:attempts:*", "rhopush:dead:*", "rhopush:registered:*"),
    *("rhopush:owned_since:*", "rhopush:holders:*", "rhopush:proof:*", "rhopush:snapshot:*"),
    *("rhopush:journal", "rhopush:listeners", "rhopush:beat:*", "rhoconnect:changes"),
    *("rhopush:{q}:pings", "rhopush:{q}:retries", "rhopush:{q}:broadcasts", "rhopush:{q}:pieces"),
    *("rhopush:{q}:later", "rhopush:{q}:later_body", "rhopush:{q}:parked", "rhopush:{q}:stats"),
    *("rhopush:{q}:receipts", "rhopush:{q}:receipt:*", "rhopush:{q}:unreadable_entries"),
    *("rhopush:{q}:append:*", "rhopush:{q}:once:*", "rhopush:{q}:quota:*"),
    *("rhopush:{q}:progress:pings:*", "rhopush:{q}:progress:broadcasts:*"),
    *("rhopush:{q}:users:*", "rhopush:{q}:reached:*"),
    *("rhopush:{q}:events", "rhopush:{q}:windows", "rhopush:{q}:window:*", "rhopush:{q}:pushed:*"),
    *("rhopush:{q}:change:*", "rhopush:{q}:resque:taken:*", "rhopush:{q}:resque:takers"),
)
"""Names of keys as the earlier version wrote them: they stay as they are here."""

WORKED_OFF = (
    *("rhopush:{q}:later", "rhopush:{q}:later_body", "rhopush:{q}:parked", "rhopush:{q}:progress:*"),
    *("rhopush:{q}:users:*", "rhopush:{q}:reached:*", "rhopush:{q}:windows", "rhopush:{q}:window:*"),
    *("rhopush:{q}:resque:taken:*", "que:*", "col:*"),
)
"""The keys of these that are gone once all work is finished."""
STREAMS = ("rhopush:{q}:pings", "rhopush:{q}:retries", "rhopush:{q}:broadcasts", "rhopush:{q}:pieces")
"""The streams of these that are empty then, if they still exist."""


@dataclass
class Upgraded:
    """A gateway of this version on what the earlier one left."""

    worker: Worker
    redis: Redis
    stand: Providers
    device: RhoConnectPushDevice
    kept: Dump

    def notes(self, name: str) -> list[dict[str, Any]]:
        """The notes that have this name."""
        return self.kept.named(name)

    def expected(self) -> Counter[tuple[str, str]]:
        """Each push that is still to come: device, and text or sources."""
        texts = [
            (to, note.get("text") or note["job"]) for note in self.kept.notes for to in note.get("to", ())
        ]
        synced = [(to, f"sync {source}") for note in self.notes("synced") for to, source in note["synced"]]
        return Counter(texts + synced)

    def pushes(self) -> list[SimulatedRecord]:
        """Each push that a provider accepted."""
        return [*self.stand.apns.received.accepted, *self.stand.fcm.received.accepted]

    def delivered(self) -> Counter[tuple[str, str]]:
        """Each push that a device got."""
        polled = [(DEVICE, message.data["alert"]) for message in self.device.received]
        return Counter([(push.token, what(push)) for push in self.pushes()] + polled)


def what(push: SimulatedRecord) -> str:
    return push.summary.alert or f"sync {','.join(push.summary.do_sync)}"


@pytest.fixture
async def upgraded(
    redis_client: Redis, redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Upgraded]:
    kept = dump.read(DUMP)
    [known] = [note["device"] for note in kept.named("device")]
    [place_then] = [note["place"] for note in kept.named("place")]
    async with providers() as stand:
        # Marks name the provider's host and port, which a simulator has at each start anew.
        await dump.load(redis_client, kept.with_text(place_then, place(stand.apns.port)), AWAY_MS)
        async for key in redis_client.scan_iter(keys.login_attempts("*")):
            await redis_client.persist(key)  # a slow machine must not outlast their minute
        settings = stand.settings(retry={"unknown_s": 0.2, "jitter": 0.0}, drain_s=1)
        for name, value in SHORT_LEASES.items():
            monkeypatch.setattr(name, value)
        async with (
            working(tmp_path, redis_address, settings, sources=SOURCES, rhoconnect_push=True) as worker,
            RhoConnectPushDevice(worker.rhoconnect_push_url, "leo", PASSWORD, "") as device,
        ):
            device.instance, device.cookie, device.tokens = (
                known["instance"],
                known["cookie"],
                known["tokens"],
            )
            polling = asyncio.create_task(device.run())
            yield Upgraded(worker, redis_client, stand, device, kept)
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling


def test_the_dump_holds_every_kind_of_key() -> None:
    names = dump.read(DUMP).names
    assert [kind for kind in STORED if not fnmatch.filter(names, kind)] == []
    unknown = [name for name in names if not any(fnmatch.fnmatchcase(name, kind) for kind in STORED)]
    assert [name for name in unknown if name.startswith("rhopush:")] == []
    assert DUMP.stat().st_size < DUMP_BYTES


def test_the_dump_holds_the_former_words() -> None:
    stored = {
        name: json.dumps(one) for one, name in zip(dump.read(DUMP).keys, dump.read(DUMP).names, strict=True)
    }
    receipts = [text for name, text in stored.items() if name.startswith("rhopush:{q}:receipt:")]
    assert [text for text in receipts if RPS in text]
    assert '["rps", "1"]' in stored["rhopush:{q}:parked"]
    assert '"rhoconnect_push"' not in stored["rhopush:{q}:parked"]
    assert RPS in stored["rhopush:{q}:later_body"]


async def test_the_pings_of_the_dump_have_present_ingress_names(redis_client: Redis) -> None:
    await dump.load(redis_client, dump.read(DUMP), AWAY_MS)
    entries = [read_entry(packed) for packed in await payloads(redis_client, keys.PINGS, keys.BROADCASTS)]
    chunks = [read_chunk(packed) for packed in await payloads(redis_client, keys.RETRIES, keys.CHUNKS)]
    chunks += [read_chunk(packed) for packed in await redis_client.hvals(keys.SCHEDULE_BODIES)]
    assert {ping.ingress for entry in entries for ping in entry.pings} == {HTTP, CHANGE_EVENTS}
    assert {chunk.ping.ingress for chunk in chunks} == {HTTP}


async def payloads(redis: Redis, *streams: str) -> list[bytes]:
    """The content of the entries of these streams."""
    return [fields[b"e"] for stream in streams for _, fields in await redis.xrange(stream)]


@pytest.mark.timeout(PATIENCE_S * 4)
async def test_work_of_an_earlier_version_is_finished(upgraded: Upgraded) -> None:
    await refused(upgraded.worker)
    await all_delivered(upgraded)
    await all_drained(upgraded)
    assert upgraded.delivered() == upgraded.expected()
    same_ids(upgraded)
    for note in upgraded.notes("ping"):
        await final(upgraded.worker, note)
    await receipts_add_up(upgraded.redis)
    assert await upgraded.redis.xlen(keys.UNREADABLE) == UNREADABLE_BEFORE
    assert await upgraded.redis.get("resque:stat:processed") == b"4"
    await known_again(upgraded)


async def all_delivered(upgraded: Upgraded) -> None:
    """Wait until each device has what it is to get."""
    missing = upgraded.expected()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while missing := upgraded.expected() - upgraded.delivered():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"never came: {sorted(missing)}") from None


async def all_drained(upgraded: Upgraded) -> None:
    """Wait until nothing is left to be done."""
    left: dict[str, int] = {}
    try:
        async with asyncio.timeout(PATIENCE_S):
            while left := await remaining(upgraded.redis):
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"left: {left}") from None


async def remaining(redis: Redis) -> dict[str, int]:
    """The unfinished work by key: under the names of this version, and of the earlier one."""
    streams = {*keys.STREAMS, *STREAMS}
    sizes = {stream: await redis.xlen(stream) for stream in (*streams, CHANGES)}
    sizes |= {f"held of {stream}": await pending(redis, stream) for stream in keys.STREAMS}
    sizes[RESQUE_QUEUE] = await redis.llen(RESQUE_QUEUE)
    stats = await redis.hgetall(keys.STATS)
    sizes |= {f"{name} of the backlog": int(stats.get(name.encode(), 0)) for name in ("pings", "bytes")}
    for pattern in (
        *WORKED_OFF,
        *(keys.SCHEDULE, keys.SCHEDULE_BODIES, keys.PARKED, keys.WINDOWS, f"{keys.WINDOW}*"),
        *(keys.progress("*", "*"), keys.broadcast_users("*"), keys.broadcast_devices("*")),
        f"{keys.RESQUE_TAKEN}*",
    ):
        sizes[pattern] = len([key async for key in redis.scan_iter(pattern)])
    return {name: size for name, size in sizes.items() if size}


async def pending(redis: Redis, stream: str) -> int:
    return int((await redis.xpending(stream, keys.GROUP))["pending"])


def same_ids(upgraded: Upgraded) -> None:
    """Deliveries that were attempted before the upgrade are repeated with the same apns-id and collapse id."""
    tried = {
        (to, note["text"]): ids for note in upgraded.notes("ping") for to, ids in note["tried"].items() if ids
    }
    again = {
        (push.token, what(push)): [push.headers.get("apns-id"), push.headers.get("apns-collapse-id")]
        for push in upgraded.pushes()
        if (push.token, what(push)) in tried
    }
    assert again == tried
    assert len(tried) >= 3


async def final(worker: Worker, note: dict[str, Any]) -> None:
    """The receipt of a ping says what became of each of its deliveries."""
    answer = await worker.request("GET", f"/rc/v1/pings/{note['ping']}")
    report = answer.json()
    accepted, rejected = note["counts"]
    assert report["state"] == "done", (note, report)
    assert report["counts"] == {"accepted": accepted, "rejected": rejected, "later": 0}, (note, report)
    assert report["skipped"] == note["skipped"], (note, report)
    providers_then = {device["provider"] for device in report["devices"]}
    # The earlier version stored another name of the provider, in receipts and in verdicts of unfinished pings.
    expected = {RHOCONNECT_PUSH} if DEVICE in note["to"] else {APNS, FCM}
    assert providers_then <= expected, (note, report)
    assert providers_then or DEVICE not in note["to"], (note, report)


async def receipts_add_up(redis: Redis) -> None:
    """No receipt waits for anything, and their sizes are those that are counted."""
    receipts = [await redis.hgetall(key) async for key in redis.scan_iter(keys.receipt("*"))]
    assert receipts
    assert not [one for one in receipts if any(int(count) for count in open_counts(one))]
    assert await redis.zcard(keys.RECEIPTS) == len(receipts)
    counted = int(await redis.hget(keys.STATS, "receipt_bytes") or 0)
    assert counted == sum(int(one.get(b"size", 0)) for one in receipts)


def open_counts(receipt: dict[Any, Any]) -> Iterable[Any]:
    return (count for name, count in receipt.items() if name.endswith(b":open"))


async def refused(worker: Worker) -> None:
    """Guesses of before the upgrade still count."""
    async with aiohttp.ClientSession(worker.url) as http:
        answer = await http.post("/rc/v1/app/login", json={"login": GUESSED, "password": PASSWORD})
        assert answer.status == 429


async def known_again(upgraded: Upgraded) -> None:
    """An Idempotency-Key, a session and marked devices of before the upgrade hold."""
    [once] = [note["once"] for note in upgraded.notes("once")]
    before = upgraded.delivered()
    answer = await upgraded.worker.request(
        "POST", "/rc/v1/users/ping", data=once["body"], headers=once["headers"]
    )
    assert (answer.status, answer.ping_id) == (200, once["ping"])
    assert upgraded.delivered() == before
    [session] = [note["session"] for note in upgraded.notes("session")]
    secret = await upgraded.redis.get(keys.SESSION_HMAC)
    async with aiohttp.ClientSession(upgraded.worker.url) as http:
        for cookie, status in (
            (prolonged(session["cookie"], secret), 200),
            (session["cookie"][:-1] + "x", 401),
        ):
            asked = await http.post("/rc/v1/clients", json={}, headers={"Cookie": cookie})
            assert asked.status == status
    marks = [key async for key in upgraded.redis.scan_iter(keys.dead("*"))]
    assert len(marks) == 3


def prolonged(cookie: str, secret: bytes) -> str:
    """The session's cookie as it would be if it ended tomorrow."""
    name, _, value = cookie.partition("=")
    text = value.partition("--")[0]
    said = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    said[2] = int(time.time()) + 86_400
    signed = base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).rstrip(b"=")
    mac = hmac.new(bytes.fromhex(secret.decode()), signed, hashlib.sha256).hexdigest()
    return f"{name}={signed.decode()}--{mac}"
