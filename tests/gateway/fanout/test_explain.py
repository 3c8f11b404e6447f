"""Pings explained by a complete worker with the simulators: the explanation agrees with the delivery."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.fanout.explain import DEVICES_MAX, PLACEHOLDER_ID, USERS_MAX
from gateway.registry import token_marks
from gateway.registry.user_scan import UserScan
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import keys
from protocols.devices import mask
from tests.support.providers import provider_settings
from tests.support.rhoconnect import Client, android, apple, lay_user, lay_users, rhoconnect_push_client
from tests.support.worker import Worker, working
from tests.support.worker_core import until

APPLE_PIN = "ab" * 32
FCM_PIN = "fcm-token:" + "A" * 140
_BY_THE_CLOCK = (
    b"rhopush:{q}:events",
    b"rhopush:{q}:resque",
    b"resque:",
    b"rhopush:listeners",
    b"rhopush:beat:",
    b"rhopush:{q}:workers",
    b"rhopush:{q}:console:",
)


class Setup:
    """A worker, its store and its providers."""

    def __init__(self, worker: Worker, redis: Redis, apns: ApnsSimulator, fcm: FcmSimulator) -> None:
        self.worker, self.redis, self.apns, self.fcm = worker, redis, apns, fcm

    async def explain(self, *users: str, **parameters: Any) -> dict[str, Any]:
        """The explanation of a ping."""
        answer = await self.worker.ping(list(users), explain=True, **parameters)
        assert answer.status == 200, answer.body
        assert "X-Ping-Id" not in answer.headers
        found: dict[str, Any] = answer.json()
        return found

    async def left_out(self, *devices: Client, **parameters: Any) -> dict[str, Any]:
        """Lay one user with these devices, of which the last is left out."""
        if not await self.redis.exists("user:bob:clients"):
            await lay_user(self.redis, "bob", devices)
        found = await self.explain("bob", **parameters)
        (row,) = found["left_out"]
        assert row["client_id"] == devices[-1].client_id
        assert found["totals"]["by_reason"] == {row["reason"]: 1}
        assert found["totals"]["devices"] == len(devices) - 1
        answer: dict[str, Any] = row
        return answer


@asynccontextmanager
async def setup(folder: Path, address: str, redis: Redis, **settings: Any) -> AsyncIterator[Setup]:
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        said = provider_settings(apns, fcm, rhoconnect_push={"port": 0}) | settings
        async with working(folder, address, said) as worker:
            yield Setup(worker, redis, apns, fcm)


@pytest.fixture
async def running(tmp_path: Path, redis_address: str, redis_client: Redis) -> AsyncIterator[Setup]:
    async with setup(tmp_path, redis_address, redis_client) as found:
        yield found


async def dump(redis: Redis) -> dict[bytes, Any]:
    """Every key with its value, but for what workers write by the clock."""
    found: dict[bytes, Any] = {}
    async for key in redis.scan_iter():
        if not key.startswith(_BY_THE_CLOCK):
            # A stream also has the times at which its consumers read.
            stream = await redis.type(key) == b"stream"
            found[key] = await (redis.xlen(key) if stream else redis.dump(key))
    return found


async def recorded(redis: Redis) -> bool:
    """Whether the worker has recorded all changes of users and devices, of which the last one is made here."""
    await redis.set("client:ff:device_pin", "x", nx=True)
    return bool(await redis.hexists(keys.CHANGE_LOG, "ff"))


@pytest.mark.parametrize(
    "content",
    [
        {"message": "hello"},
        {
            "message": "hello",
            "title": "T",
            "badge": 3,
            "sound": "s.mp3",
            "vibrate": 500,
            "priority": "normal",
        },
        {"message": None, "sources": ["Product", "Customer"]},
        {"message": "x", "sources": "all", "collapse_id": "c-1"},
        {"message": {"title": "a", "body": "b"}, "apns": {"k": 1}, "fcm": {"data": {"k": "v"}}},
        {"message": None, "vibrate": 100},
    ],
)
async def test_the_payload_is_the_one_that_a_ping_then_has(running: Setup, content: dict[str, Any]) -> None:
    await lay_user(running.redis, "bob", [apple(APPLE_PIN), android(FCM_PIN, phone_id="p1")])
    content = {"ttl_s": 0, **content}
    found = await running.explain("bob", **content)
    assert (running.apns.received.total, running.fcm.received.total) == (0, 0)
    rows = {row["provider"]: row for row in found["devices"]}

    ping_id = await running.worker.accepted("bob", **content)
    await running.worker.done(ping_id)
    for simulator, provider, pin in (
        (running.apns, "apns", APPLE_PIN),
        (running.fcm, "fcm", FCM_PIN),
    ):
        (sent,) = list(simulator.received)
        explained = json.dumps(rows[provider]["payload"]).replace(PLACEHOLDER_ID, ping_id)
        assert json.loads(explained.replace(json.dumps(mask(pin)), json.dumps(pin))) == sent.payload
        headers = {
            name: text.replace(PLACEHOLDER_ID, ping_id) for name, text in rows[provider]["headers"].items()
        }
        assert headers.items() <= sent.headers.items()
        assert "authorization" not in headers
        assert pin not in json.dumps(rows[provider])
        assert rows[provider]["host"] == f"127.0.0.1:{simulator.port}"
    assert rows["apns"]["bytes"] == len(
        json.dumps(rows["apns"]["payload"], separators=(",", ":"), ensure_ascii=False).encode()
    )


async def test_a_message_of_rhoconnect_push_is_the_one_that_waits_in_the_mailbox(running: Setup) -> None:
    await lay_user(running.redis, "bob", [rhoconnect_push_client("a-token:of-the-service")])
    found = await running.explain("bob", badge=2, sources="Product")
    (row,) = found["devices"]
    assert row["payload"] == {"collapseId": 2, "data": {"alert": "hello", "do_sync": ["Product"]}}
    assert (row["lane"], row["host"], row["bytes"]) == ("rhoconnect_push", "", 63)


async def test_nothing_is_written_and_no_request_begins(running: Setup) -> None:
    many = [apple(f"{number:064x}") for number in range(80)]
    await lay_users(running.redis, {"bob": [apple(APPLE_PIN)], "eve": [android(FCM_PIN)], "large": many})
    await until(lambda: recorded(running.redis))
    before = await dump(running.redis)
    metrics = (await running.worker.request("GET", "/metrics")).body
    found = await running.explain("bob", "eve", "large", "nobody")
    assert found["totals"] == {
        "users": 4,
        "unknown_users": 1,
        "devices": 82,
        "left_out": 0,
        "bytes": sum(row["bytes"] for row in found["devices"]),
        "by_provider": {"apns": 81, "fcm": 1},
        "by_reason": {},
    }
    assert found["unknown_users"] == ["nobody"]
    assert {row["client_id"] for row in found["devices"]} >= {one.client_id for one in many}
    assert await dump(running.redis) == before
    assert (running.apns.received.total, running.fcm.received.total) == (0, 0)
    counted = [
        line
        for text in (metrics, (await running.worker.request("GET", "/metrics")).body)
        for line in text.splitlines()
        if line.startswith(
            (b"rhopush_pings_accepted", b"rhopush_deliveries_total", b"rhopush_devices_skipped")
        )
    ]
    assert all(line.endswith((b" 0.0", b" 0")) for line in counted)


async def test_a_device_that_is_not_registered_for_push(running: Setup) -> None:
    row = await running.left_out(apple(APPLE_PIN), Client(device_type=None, pin="cd" * 32))
    assert row["reason"] == "unregistered"
    assert "not registered for push" in row["text"]


async def test_a_device_type_without_a_provider_is_left_out_as_unsupported(running: Setup) -> None:
    row = await running.left_out(Client(device_type="wp8", pin="x"))
    assert row["reason"] == "unsupported_platform"


async def test_a_repeated_device_or_token_is_left_out(running: Setup) -> None:
    newest = apple(APPLE_PIN, phone_id="p", last_sync="2026-11-24T10:00:00+0000")
    row = await running.left_out(newest, apple("cd" * 32, phone_id="p"))
    assert (row["reason"], row["same_as"]) == ("repeated", newest.client_id)
    assert newest.client_id in row["text"]
    await lay_users(running.redis, {"eve": [android(FCM_PIN)], "sue": [android(FCM_PIN)]})
    found = await running.explain("eve", "sue")
    assert [row["user_id"] for row in found["devices"]] == ["eve"]
    assert [(row["user_id"], row["reason"]) for row in found["left_out"]] == [("sue", "repeated")]


async def test_a_raw_token_of_a_registered_device(running: Setup) -> None:
    device = apple(APPLE_PIN, phone_id="p")
    await lay_user(running.redis, "bob", [device])
    token = {"provider": "apns", "token": APPLE_PIN}
    for users, to in ((["bob"], {}), ([], {"devices": [device.client_id]})):
        found = await running.explain(*users, message="hello", to=to | {"tokens": [token]})
        assert [row["client_id"] for row in found["devices"]] == [device.client_id]
        assert [(row["reason"], row["same_as"]) for row in found["left_out"]] == [
            ("repeated", device.client_id)
        ]


async def test_a_token_that_is_marked_as_dead(running: Setup) -> None:
    device = apple(APPLE_PIN, device_app_id="app")
    before, after = token_marks.around(APPLE_PIN, "Unregistered", 1_790_000_000_000, ())
    mark = f"{before}da39a3ee{after}"  # SHA-1 of a last sync that never was
    await lay_user(running.redis, "bob", [device])
    while not (await running.explain("bob"))["left_out"]:  # the worker ends the marks of a new registration
        await running.redis.set(keys.dead(device.client_id), mark)
    row = await running.left_out(device)
    assert (row["reason"], row["provider_reason"]) == ("dead_token", "Unregistered")
    assert row["since"] == "2026-09-21T14:13:20+00:00"
    assert "Unregistered" in row["text"]
    assert (row["provider"], row["app"], row["token"]) == ("apns", "app", mask(APPLE_PIN))


async def test_a_missing_client_is_left_out_as_dangling(running: Setup) -> None:
    device = apple(APPLE_PIN)
    await lay_user(running.redis, "bob", [device])
    await running.redis.delete(f"client:{device.client_id}:rho__id")
    found = await running.explain("bob")
    assert [(row["client_id"], row["reason"]) for row in found["left_out"]] == [
        (device.client_id, "dangling_client")
    ]


async def test_content_and_tokens_that_a_provider_does_not_accept(running: Setup) -> None:
    row = await running.left_out(apple(APPLE_PIN), message=None)
    assert row["reason"] == "nothing_to_send"
    await running.redis.flushall()
    row = await running.left_out(apple(APPLE_PIN), message="x" * 5000)
    assert row["reason"] == "PayloadTooLarge"
    assert "4096" in row["text"]
    await running.redis.flushall()
    row = await running.left_out(apple("no-hex"))
    assert row["reason"] == "invalid_device_token"


async def test_no_credential_and_a_provider_that_is_not_served(
    tmp_path: Path, redis_address: str, redis_client: Redis
) -> None:
    none = {"fcm": {}, "rhoconnect_push": {"mode": "off"}}
    async with setup(tmp_path, redis_address, redis_client, **none) as running:
        await lay_user(redis_client, "bob", [android(FCM_PIN), rhoconnect_push_client("t")])
        found = await running.explain("bob")
        assert found["devices"] == []
        assert {row["reason"] for row in found["left_out"]} == {"no_credential", "platform_not_served"}


async def test_a_lane_that_is_down_is_a_note(running: Setup) -> None:
    await lay_user(running.redis, "bob", [apple(APPLE_PIN)])
    await running.worker.until(await running.worker.accepted("bob"), state="done")  # the lane is open
    await running.apns.close()
    ping_id = await running.worker.accepted("bob")
    await running.worker.until(ping_id, state="open")
    while "note" not in (row := (await running.explain("bob"))["devices"][0]):
        pass
    assert row["note"].startswith("the lane cannot send now")


async def test_fcm_validates_and_apns_cannot(running: Setup) -> None:
    bad = android("no token", device_app_id="other")
    await lay_user(running.redis, "bob", [apple(APPLE_PIN), android(FCM_PIN), bad])
    await until(lambda: recorded(running.redis))
    before = await dump(running.redis)
    found = await running.explain("bob", validate=True)
    verdicts = {row["client_id"]: row["validation"]["verdict"] for row in found["devices"]}
    assert sorted(verdicts.values()) == ["accepted", "not_available", "rejected"]
    assert verdicts[bad.client_id] == "rejected"
    assert [record.payload["validate_only"] for record in running.fcm.received] == [True, True]
    assert running.apns.received.total == 0
    assert await dump(running.redis) == before


async def test_too_much_is_refused_by_name(running: Setup) -> None:
    answer = await running.worker.ping([f"u{number}" for number in range(USERS_MAX + 1)], explain=True)
    assert (answer.status, answer.json()["error"]["field"]) == (413, "user_id")
    assert str(USERS_MAX) in answer.json()["error"]["message"]
    many = [android(f"token:{number:0140d}") for number in range(DEVICES_MAX)]
    await lay_user(running.redis, "bob", many)
    assert (await running.explain("bob"))["totals"]["devices"] == DEVICES_MAX
    answer = await running.worker.ping("bob", explain=True, validate=True)
    assert (answer.status, answer.json()["error"]["field"]) == (413, "validate")
    await lay_user(running.redis, "eve", [apple(APPLE_PIN)])
    answer = await running.worker.ping(["bob", "eve"], explain=True)
    assert (answer.status, answer.json()["error"]["field"]) == (413, "user_id")
    assert str(DEVICES_MAX) in answer.json()["error"]["message"]


async def test_a_large_payload_for_many_devices_is_refused(running: Setup) -> None:
    await lay_user(running.redis, "bob", [rhoconnect_push_client(f"t:{number}") for number in range(200)])
    answer = await running.worker.ping("bob", explain=True, message="x" * 60_000)
    assert (answer.status, answer.json()["error"]["field"]) == (413, "user_id")
    assert "bytes" in answer.json()["error"]["message"]


async def test_a_caller_that_is_limited_to_apps_sees_their_devices_alone(running: Setup) -> None:
    """Neither those that the ping reaches nor those that are left out."""
    devices = [
        apple(APPLE_PIN, device_app_id="a"),
        apple("cd" * 32, device_app_id="b"),
        Client(device_type="wp8", pin="x", device_app_id="a"),
        Client(device_type="wp8", pin="x", device_app_id="b"),
    ]
    await lay_user(running.redis, "bob", devices)
    await running.redis.set(f"rhopush:dead:{devices[1].client_id}", "1 Unregistered")
    made = await running.worker.request(
        "POST", "/rc/v1/admin/tokens", json={"name": "ci", "scopes": ["read"], "apps": ["a"]}
    )
    headers = {"X-RhoConnect-API-TOKEN": made.json()["token"]}
    body = {"user_id": "bob", "message": "hello", "explain": True}
    answer = await running.worker.request("POST", "/rc/v1/users/ping", json=body, headers=headers)
    found = answer.json()
    assert [row["client_id"] for row in found["devices"]] == [devices[0].client_id]
    assert [row["client_id"] for row in found["left_out"]] == [devices[2].client_id]


async def test_a_caller_that_is_limited_to_apps_sees_no_dead_token_of_another_app(running: Setup) -> None:
    devices = [apple(APPLE_PIN, device_app_id=app) for app in "ab"]
    await lay_user(running.redis, "bob", devices)
    before, after = token_marks.around(APPLE_PIN, "Unregistered", 1_790_000_000_000, ())
    mark = f"{before}da39a3ee{after}"  # SHA-1 of a last sync that never was
    while len((await running.explain("bob"))["left_out"]) < 2:  # as above
        await running.redis.mset({keys.dead(device.client_id): mark for device in devices})
    made = await running.worker.request(
        "POST", "/rc/v1/admin/tokens", json={"name": "ci", "scopes": ["read"], "apps": ["a"]}
    )
    headers = {"X-RhoConnect-API-TOKEN": made.json()["token"]}
    body = {"user_id": "bob", "message": "hello", "explain": True}
    answer = await running.worker.request("POST", "/rc/v1/users/ping", json=body, headers=headers)
    assert [row["client_id"] for row in answer.json()["left_out"]] == [devices[0].client_id]


async def test_users_that_are_added_after_the_count_do_not_exceed_the_limit(
    running: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def earlier(_: UserScan) -> int:
        return USERS_MAX

    await lay_users(running.redis, {f"user{number}": [] for number in range(USERS_MAX + 1)})
    monkeypatch.setattr(UserScan, "count", earlier)
    answer = await running.worker.ping([], to={"all_users": True}, explain=True)
    assert (answer.status, answer.json()["error"]["field"]) == (413, "to.all_users")
