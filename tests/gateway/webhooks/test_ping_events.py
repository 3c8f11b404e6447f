"""The events of one ping: found by its receipt, and delivered, waiting or failing as the endpoint's state says."""

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.queue.outbox import RECORD_FIELD, FinishedPing, RejectedDevice
from gateway.settings import Secret, WebhookSettings
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.webhooks import ping_events
from gateway.webhooks.endpoint_delivery import digest_of
from gateway.webhooks.endpoint_state import EndpointStates
from gateway.webhooks.outbox import Outbox
from gateway.webhooks.ping_events import KnownEndpoint, PingEvents
from protocols.webhooks.events import PING_COMPLETED, PING_FAILED_DEVICES
from tests.gateway.webhooks.conftest import Settling, batch_id
from tests.support.webhooks import SECRET

PING = batch_id(1) + "0000"
CRM = WebhookSettings(
    Secret("https://crm.example.com"), (Secret(SECRET),), (PING_COMPLETED, PING_FAILED_DEVICES)
)
LANES = WebhookSettings(Secret("redis-stream://x"), (), ("lane.down",))
ENDPOINTS = {name: KnownEndpoint(one, digest_of(one)) for name, one in (("crm", CRM), ("lanes", LANES))}
STATE = keys.webhook_endpoint("crm")


@pytest.fixture
async def events(
    connection: RedisConnection,
    outbox: Outbox,
    states: EndpointStates,
    settling: Settling,
    redis_client: Redis,
) -> PingEvents:
    """The outbox has the events of a ping with a rejected device, and those of other pings."""
    await states.begin(["crm"])
    rejected = (RejectedDevice(0, "phone", "apns", "TooBig"),)
    for number, one in ((2, ()), (1, rejected), (3, ())):
        await redis_client.hset(keys.receipt(batch_id(number)), "base", b"packed")
        await settling.settle(batch_id(number), FinishedPing(0, 1), rejected=one)
    return PingEvents(connection, outbox, states)


def rows(found: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in found]


async def test_each_message_waits_until_the_cursor_has_passed_it(
    events: PingEvents, states: EndpointStates, redis_client: Redis
) -> None:
    found = await events.of(PING, ENDPOINTS)
    assert rows(found, "endpoint", "type", "state") == [
        ("crm", PING_FAILED_DEVICES, "waiting"),
        ("crm", PING_COMPLETED, "waiting"),
    ]
    newest = (await redis_client.xrevrange(keys.WEBHOOK_EVENTS, count=1))[0][0].decode()
    await states.change("crm", {"sent": found[0]["id"]}, as_leader=False)
    assert rows(await events.of(PING, ENDPOINTS), "state") == [("delivered",), ("waiting",)]
    await states.change("crm", {"cursor": newest}, delete=("sent",), as_leader=False)
    assert rows(await events.of(PING, ENDPOINTS), "state") == [("delivered",)] * 2


async def test_a_replay_of_later_events_leaves_a_delivered_message_delivered(
    events: PingEvents, states: EndpointStates, redis_client: Redis
) -> None:
    newest = (await redis_client.xrevrange(keys.WEBHOOK_EVENTS, count=1))[0][0].decode()
    at_ms = int(newest.partition("-")[0])
    await states.change("crm", {"cursor": f"{at_ms + 5_000}-0"}, as_leader=False)
    await states.change("crm", {"replay": at_ms + 1_000}, as_leader=False)
    await states.hold(
        "crm"
    )  # applies the replay: the cursor has the greatest sequence number of a millisecond
    assert rows(await events.of(PING, ENDPOINTS), "state") == [("delivered",)] * 2


async def test_a_failing_and_a_disabled_endpoint_show_their_error(
    events: PingEvents, states: EndpointStates
) -> None:
    failure: dict[str, str | int] = {"attempts": 2, "due": 1_800_000_000_000, "error": "<b>503</b>"}
    await states.change("crm", failure, as_leader=False)
    (row,) = set(rows(await events.of(PING, ENDPOINTS), "state", "error", "next_attempt"))
    assert row == ("failing", "<b>503</b>", "2027-01-15T08:00:00.000Z")
    await states.change("crm", {"disabled": digest_of(CRM)}, as_leader=False)
    (row,) = set(rows(await events.of(PING, ENDPOINTS), "state", "error", "next_attempt"))
    assert row == ("disabled", "<b>503</b>", None)


async def test_an_endpoint_that_was_added_later_did_not_get_them_before_a_replay(
    events: PingEvents, states: EndpointStates, redis_client: Redis
) -> None:
    late = {"late": ENDPOINTS["crm"]}
    await states.begin(["late"])
    assert await events.of(PING, late) == []
    await states.change("late", {"replay": 1_000}, as_leader=False)
    await states.hold("late")
    assert rows(await events.of(PING, late), "state") == [("waiting",)] * 2


async def test_of_many_records_of_a_ping_the_newest_are_read(
    events: PingEvents, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = keys.receipt(batch_id(1))
    (field,) = [name for name in await redis_client.hkeys(receipt) if name.startswith(RECORD_FIELD.encode())]
    record = field.decode().removeprefix(RECORD_FIELD)
    ((_, fields),) = await redis_client.xrange(keys.WEBHOOK_EVENTS, record, record)
    later = f"{int(record.partition('-')[0]) + 5_000}-0"
    await redis_client.xadd(keys.WEBHOOK_EVENTS, fields, id=later)
    await redis_client.hset(receipt, RECORD_FIELD + later, "")
    both = await events.of(PING, ENDPOINTS)
    monkeypatch.setattr(ping_events, "RECORDS_MAX", 1)
    assert (len(both), await events.of(PING, ENDPOINTS)) == (4, both[2:])


async def test_removed_records_other_pings_and_texts_that_are_no_id(
    events: PingEvents, redis_client: Redis
) -> None:
    assert await events.of(batch_id(4) + "0000", ENDPOINTS) == []
    assert await events.of(batch_id(1) + "0001", ENDPOINTS) == []
    assert await events.of("x", ENDPOINTS) == []
    assert await events.of(PING, {}) == []
    await redis_client.hset(keys.receipt(batch_id(1)), "outbox:x", "")
    await redis_client.delete(keys.WEBHOOK_EVENTS)
    assert await events.of(PING, ENDPOINTS) == []
