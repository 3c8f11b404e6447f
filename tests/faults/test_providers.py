"""Failing providers, over real TLS sockets, with a complete worker: each response has its verdict, and no ping is
lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.clock import ProviderClock, SharedClock
from gateway.delivery.providers.apns_credentials import ApnsKey
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.simulators.base import Simulator
from protocols.apns.credentials import BUCKET_S, CHANGE_S, LAG_S
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer, store_client
from tests.support.rhoconnect import Client, android, apple, lay_user, lay_users
from tests.support.worker import Worker, working

QUICK = {"apns_5xx_s": 0.2, "fcm_5xx_s": 0.2, "unknown_s": 0.2, "give_up_s": 60, "jitter": 0.0}
MANY = 60
HOUR_MS = 3_600_000


class Stage(NamedTuple):
    """A worker and one simulated provider."""

    worker: Worker
    provider: Simulator
    phone: Callable[..., Client]
    redis: Redis
    name: str

    async def user(self, login: str = "bob", number: int = 1, **more: Any) -> Client:
        """Register a user with one device of this provider."""
        phone = self.phone(number, **more)
        await lay_user(self.redis, login, [phone])
        return phone

    async def statuses(self) -> list[int]:
        """The statuses of the provider's responses so far."""
        return [record.status for record in self.provider.received]


def apple_phone(number: int, **more: Any) -> Client:
    return apple(f"{number:064x}", **more)


def android_phone(number: int, **more: Any) -> Client:
    return android(f"registration-{number:06d}", **more)


@pytest.fixture(scope="module")
def valkey() -> Iterator[RedisServer]:
    """One kind of store is enough here: the queue's own tests run on both."""
    with RedisServer("valkey") as server:
        yield server


@pytest.fixture(params=["apns", "fcm"])
async def stage(request: pytest.FixtureRequest, valkey: RedisServer, tmp_path: Path) -> AsyncIterator[Stage]:
    """Mark a test with `settings(deadline_s=..., retry={...}, ping={...})` to change the gateway's settings."""
    said = {
        key: value for mark in request.node.iter_markers("settings") for key, value in mark.kwargs.items()
    }
    valkey.flush()
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(store_client(valkey.socket))
        apns = await stack.enter_async_context(ApnsSimulator())
        fcm = await stack.enter_async_context(FcmSimulator())
        settings = provider_settings(apns, fcm, ping=said.get("ping", {}))
        settings["retry"] = QUICK | said.get("retry", {})
        for name in ("apns", "fcm"):
            settings[name]["deadline_s"] = said.get("deadline_s", 15)
        worker = await stack.enter_async_context(working(tmp_path, valkey.address, settings))
        if request.param == "apns":
            yield Stage(worker, apns, apple_phone, redis, "apns")
        else:
            yield Stage(worker, fcm, android_phone, redis, "fcm")


# One delivery, one fault, and the verdict of the ping.


@pytest.mark.parametrize(
    "fault",
    [
        "goaway",
        "cut",
        "refuse:next=1",
        "reset:next=1",
        "limit=1",
        "429=1:next=1",
        "503=1:next=1",
        "503:next=1",
        "500:next=2",
        "expired:next=1",
        "delay=300:next=1",
    ],
)
async def test_temporary_faults_end_as_accepted(stage: Stage, fault: str) -> None:
    phone = await stage.user()
    stage.provider.faults.add(fault)
    ping_id = await stage.worker.accepted("bob")
    report = await stage.worker.done(ping_id)
    assert report["counts"] == {"accepted": 1, "rejected": 0, "later": 0}
    assert report["devices"] == [
        {"client_id": phone.client_id, "provider": stage.name, "verdict": "accepted"}
    ]
    assert len(stage.provider.received.accepted) == 1


@pytest.mark.settings(deadline_s=0.4)
async def test_a_delivery_without_a_response_is_retried(stage: Stage) -> None:
    await stage.user()
    stage.provider.faults.add("silence:next=1")
    ping_id = await stage.worker.accepted("bob")
    report = await stage.worker.until(ping_id, state="open")
    assert [(one["verdict"], one["reason"]) for one in report["devices"]] == [("unknown", "deadline")]
    assert await stage.worker.verdicts(ping_id) == [("accepted", "")]


async def test_a_delay_requested_by_the_provider_is_observed(stage: Stage) -> None:
    await stage.user()
    stage.provider.faults.add("429=1:next=1")
    await stage.worker.done(await stage.worker.accepted("bob"))
    first, second = stage.provider.received
    assert (first.status, second.status) == (429, 200)
    assert second.at_s - first.at_s >= 1.0


async def test_a_delivery_keeps_its_request_id_over_its_attempts(stage: Stage) -> None:
    await stage.user()
    stage.provider.faults.add("503=1:next=1")
    await stage.worker.done(await stage.worker.accepted("bob"))
    ids = [record.headers.get("apns-id") for record in stage.provider.received]
    assert len(ids) == 2
    assert ids[0] == ids[1]
    assert (ids[0] is not None) == (stage.name == "apns")


REJECTED = {
    "apns": [
        ("400", "BadDeviceToken"),
        ("410", "Unregistered"),
        ("413", "PayloadTooLarge"),
        ("TopicDisallowed", "TopicDisallowed"),
    ],
    "fcm": [("400", "INVALID_ARGUMENT"), ("403", "SENDER_ID_MISMATCH"), ("404", "UNREGISTERED")],
}


async def test_final_verdicts_have_the_providers_reason(stage: Stage) -> None:
    for number, (fault, reason) in enumerate(REJECTED[stage.name]):
        await stage.user(f"user{number}", number)
        stage.provider.faults.clear()
        stage.provider.faults.add(fault)
        ping_id = await stage.worker.accepted(f"user{number}")
        assert await stage.worker.verdicts(ping_id) == [("rejected", reason)]
    assert len(stage.provider.received) == len(REJECTED[stage.name])


@pytest.mark.settings(retry={"give_up_s": 1})
async def test_attempts_end_after_give_up_s(stage: Stage) -> None:
    await stage.user()
    stage.provider.faults.add("503")
    ((verdict, reason),) = await stage.worker.verdicts(await stage.worker.accepted("bob"))
    assert verdict == "rejected"
    assert reason.startswith("gave_up:")
    assert len(stage.provider.received) >= 2


async def test_attempts_end_with_the_time_to_live(stage: Stage) -> None:
    await stage.user()
    stage.provider.faults.add("503=5")
    ping_id = await stage.worker.accepted("bob", ttl_s=3)
    assert await stage.worker.verdicts(ping_id) == [("rejected", "expired")]
    assert await stage.statuses() == [503]


async def refused_for_good(stage: Stage, fault: str, reason: str) -> list[int]:
    """Let the provider refuse the credential: the lane is down, and reports the reason. Returns the provider's
    responses."""
    await stage.user()
    stage.provider.faults.add(fault)
    first = await stage.worker.accepted("bob")
    report = await stage.worker.until(first, state="open")
    assert report["devices"][0]["reason"] == reason
    answers = await stage.statuses()
    second = await stage.worker.accepted("bob")
    assert (await stage.worker.until(second, state="open"))["devices"][0]["verdict"] == "later"
    assert await stage.statuses() == answers
    ready = await stage.worker.request("GET", "/readyz")
    assert ready.status == 503
    assert reason.encode() in ready.body
    return answers


@pytest.mark.parametrize("stage", ["fcm"], indirect=True)
async def test_a_refused_credential_stops_the_lane_and_is_reported(stage: Stage) -> None:
    assert await refused_for_good(stage, "PermissionDenied", "PERMISSION_DENIED") == [403]


@pytest.mark.parametrize(
    ("token_age_s", "answers"),
    [
        (LAG_S, [403]),
        (CHANGE_S, [403]),  # Apple accepts no other token yet
        (CHANGE_S + 3 * LAG_S, [403, 403]),  # old enough to be replaced: then the new one is refused, too
        (BUCKET_S, [403, 403]),
    ],
)
@pytest.mark.parametrize("stage", ["apns"], indirect=True)
async def test_a_refused_key_stops_the_lane_after_the_permitted_number_of_tokens(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, token_age_s: int, answers: list[int]
) -> None:
    """The provider clock is set, and lanes are made with the first ping, so their tokens have this age then."""
    bucket_s = int(time.time()) // BUCKET_S * BUCKET_S
    clock = SharedClock(wall=lambda: (bucket_s + token_age_s) * 1_000_000_000)
    provider_clock = ProviderClock("apns", clock, clock.now_s)
    monkeypatch.setattr("gateway.delivery.providers.apns.ApnsKey", partial(ApnsKey, clock=provider_clock))
    assert await refused_for_good(stage, "InvalidProviderToken", "InvalidProviderToken") == answers


async def test_a_new_token_that_is_refused_like_the_old_one_stops_the_lane(stage: Stage) -> None:
    """For example with a wrong clock: another token is no remedy, and thousands of refusals would cost the
    connection."""
    await stage.user()
    stage.provider.faults.add("expired")
    ping_id = await stage.worker.accepted("bob")
    (found,) = (await stage.worker.until(ping_id, state="open"))["devices"]
    assert found["verdict"] == "later"
    refused = await stage.statuses()
    assert len(refused) == 2
    second = await stage.worker.accepted("bob")
    assert (await stage.worker.until(second, state="open"))["devices"][0]["verdict"] == "later"
    assert await stage.statuses() == refused
    ready = await stage.worker.request("GET", "/readyz")
    assert (ready.status, found["reason"].encode() in ready.body) == (503, True)


@pytest.mark.parametrize("stage", ["fcm"], indirect=True)  # Apple has no token server
async def test_a_token_server_without_a_token_is_reported(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.delivery.backlog.PARK_S", 1.0)
    assert isinstance(stage.provider, FcmSimulator)
    audiences, stage.provider.rules.tokens.audiences = stage.provider.rules.tokens.audiences, set()
    await stage.user()
    ping_id = await stage.worker.accepted("bob")
    (found,) = (await stage.worker.until(ping_id, state="open"))["devices"]
    assert (found["verdict"], found["reason"]) == ("later", "no_provider_token")
    ready = await stage.worker.request("GET", "/readyz")
    assert (ready.status, b"no_provider_token" in ready.body) == (503, True)
    shown = await stage.worker.request("GET", "/metrics")
    assert b'rhopush_lane_down{lane="fcm:demo-project"} 1.0' in shown.body
    stage.provider.rules.tokens.audiences = audiences
    await stage.worker.done(ping_id)
    while (await stage.worker.request("GET", "/readyz")).status != 200:  # reported once a second
        await asyncio.sleep(0.01)


# Dead tokens.


async def marked(stage: Stage, phone: Client) -> bool:
    return bool(await stage.redis.exists(f"rhopush:dead:{phone.client_id}"))


async def prove(stage: Stage) -> None:
    """Let the provider accept a delivery: no token is marked before it has accepted any."""
    await stage.user("somebody", 99)
    assert await stage.worker.verdicts(await stage.worker.accepted("somebody")) == [("accepted", "")]


async def test_a_dead_token_is_skipped_until_it_changes(stage: Stage) -> None:
    await prove(stage)
    phone = await stage.user()
    stage.provider.faults.add("410:next=1")
    assert (await stage.worker.verdicts(await stage.worker.accepted("bob")))[0][0] == "rejected"
    second = await stage.worker.done(await stage.worker.accepted("bob"))
    assert second["skipped"] == {"dead_token": 1}
    assert len(stage.provider.received) == 2
    other = stage.phone(2, client_id=phone.client_id)
    await stage.redis.set(f"client:{phone.client_id}:device_pin", other.pin or "")
    assert await stage.worker.verdicts(await stage.worker.accepted("bob")) == [("accepted", "")]
    assert stage.provider.received[-1].token == other.pin


@pytest.mark.parametrize(("age_ms", "dead"), [(HOUR_MS, False), (-HOUR_MS, True)])
@pytest.mark.parametrize("proof", ["registered", "synced"])
@pytest.mark.parametrize("stage", ["apns"], indirect=True)  # FCM does not report the time
async def test_a_410_older_than_the_registration_is_ignored(
    stage: Stage, age_ms: int, dead: bool, proof: str
) -> None:
    await prove(stage)
    now_ms = int(time.time() * 1000)
    synced = time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime()) if proof == "synced" else None
    phone = await stage.user(last_sync=synced)
    if proof == "registered":
        await stage.redis.set(f"rhopush:registered:{phone.client_id}", now_ms)
    stage.provider.faults.add(f"410={now_ms - age_ms}:next=1")
    assert await stage.worker.verdicts(await stage.worker.accepted("bob")) == [("rejected", "Unregistered")]
    second = await stage.worker.done(await stage.worker.accepted("bob"))
    assert second["counts"]["accepted"] == int(not dead)
    assert await marked(stage, phone) == dead


async def test_an_invalid_payload_marks_no_token_as_dead(stage: Stage) -> None:
    phone = await stage.user()
    stage.provider.faults.add({"apns": "BadTopic:next=1", "fcm": "INVALID_ARGUMENT:next=1"}[stage.name])
    assert (await stage.worker.verdicts(await stage.worker.accepted("bob")))[0][0] == "rejected"
    assert not await marked(stage, phone)
    assert await stage.worker.verdicts(await stage.worker.accepted("bob")) == [("accepted", "")]


# Many deliveries, and a connection that is interrupted.


@pytest.mark.settings(deadline_s=1.5)
@pytest.mark.parametrize(
    ("faults", "repeats"),
    [
        (["goaway:after=20"], 0),
        (["goaway:after=10", "goaway:after=30", "goaway:after=50"], 0),
        (["refuse:every=3"], 0),
        (["limit=1:after=10", "limit=50:after=20", "limit=1:after=30", "limit=1000:after=45"], 0),
        (["429=1:every=4,next=3", "503=1:every=5,next=8"], 0),
        (["expired:after=5,every=10"], 0),
        # No response arrived, although the provider had processed the request: open requests may arrive twice.
        (["cut:after=20", "cut:after=40"], MANY),
        (["silence:every=9,next=5"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_no_ping_of_many_is_lost(stage: Stage, faults: list[str], repeats: int) -> None:
    phones = {f"user{number}": (stage.phone(number),) for number in range(MANY)}
    await lay_users(stage.redis, phones)
    for fault in faults:
        stage.provider.faults.add(fault)
    ids = {user: await stage.worker.accepted(user) for user in phones}
    for ping_id in ids.values():
        assert await stage.worker.verdicts(ping_id) == [("accepted", "")]
    tokens = [record.token for record in stage.provider.received.accepted]
    assert set(tokens) == {phone.pin for (phone,) in phones.values()}
    assert len(tokens) - MANY <= repeats


async def test_a_broadcast_over_an_unstable_connection_reaches_every_device_once(stage: Stage) -> None:
    phones = {f"user{number}": (stage.phone(number),) for number in range(1000)}
    await lay_users(stage.redis, phones)
    for fault in ("goaway:after=100", "refuse:every=7", "limit=5:after=300", "limit=500:after=500"):
        stage.provider.faults.add(fault)
    stage.provider.faults.add("503=1:after=200,every=2,next=300")
    report = await stage.worker.done(await stage.worker.accepted(list(phones)))
    assert report["counts"] == {"accepted": 1000, "rejected": 0, "later": 0}
    tokens = [record.token for record in stage.provider.received.accepted]
    assert sorted(tokens) == sorted(phone.pin or "" for (phone,) in phones.values())
