"""The events of batches, chunks, retries and broadcasts; through real settlements."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.delivery.batch import DeliveryBatch, Postponed
from gateway.fanout.settled_events import broadcast_events
from gateway.fanout.settlement import build_settlement, without_own_keys
from gateway.queue.entries import Lease
from gateway.queue.outbox import EventPlan, FinishedPing, OutboxRecord, RejectedDevice, SettledEvents
from gateway.queue.scheduled_batch import EMPTY
from gateway.simulators import ApnsSimulator
from gateway.store import keys
from gateway.webhooks.outbox import Outbox, event_record
from protocols.ping.model import Ping
from protocols.verdict import Verdict, VerdictKind
from protocols.webhooks.events import DEVICE_INVALID, EVENT_TYPES, PING_COMPLETED, PING_FAILED_DEVICES
from tests.gateway.conftest import MakeLink
from tests.support.rhoconnect import apple, lay_user, lay_users
from tests.support.worker_core import WorkerCore, pipeline, until

BATCH = "0" * 28
ALL = EventPlan(frozenset(EVENT_TYPES), 1000)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LATER = Verdict(VerdictKind.LATER, "busy")


def batch(stream: str = keys.PINGS) -> DeliveryBatch:
    """Two pings for two devices each; the second device of the first ping is dead."""
    pings = [Ping(id=f"{BATCH}{index:04x}") for index in range(2)]
    found = DeliveryBatch(Lease(stream, "1-0", b"", 2, 9, False), BATCH, pings, lambda _: None)
    for number in range(2):
        found.begin_ping({"repeated": 2})
        for device in "ab":
            found.add_delivery(f"{device}{number}", "apns")
    found.finish_planning()
    found.accept(0)
    found.mark_dead(1)
    found.reject(1, "Unregistered")
    found.accept(2)
    return found


def events(one: DeliveryBatch, *wanted: str) -> OutboxRecord | None:
    return build_settlement(one, EventPlan(frozenset(wanted or EVENT_TYPES), 1000)).events


def body(record: OutboxRecord | None) -> SettledEvents:
    assert record is not None
    return msgspec.msgpack.decode(record.body, type=SettledEvents)


def test_a_complete_batch_finishes_its_pings() -> None:
    one = batch()
    one.reject(3, "TooBig")
    record = events(one)
    dead = RejectedDevice(0, "b0", "apns", "Unregistered", True)
    big = RejectedDevice(1, "b1", "apns", "TooBig", False)
    finished = (FinishedPing(0, 1, 1, 2), FinishedPing(1, 1, 1, 2))
    assert body(record) == SettledEvents(BATCH, finished, (dead, big))
    assert record is not None
    assert (record.limit, list(record.unfinished)) == (1000, [])


def test_a_ping_with_a_retry_is_left_to_redis() -> None:
    one = batch()
    one.postpone(3, LATER, Postponed(5_000, 1, ""))
    record = events(one, PING_COMPLETED)
    assert body(record) == SettledEvents(BATCH, (FinishedPing(0, 1, 1, 2),), ())
    assert record is not None
    assert record.unfinished == [(keys.receipt(BATCH), FinishedPing(1, 1, 0, 2))]


def test_a_ping_that_was_cancelled_on_the_schedule_has_its_event_already() -> None:
    pings = [
        msgspec.structs.replace(EMPTY, id=f"{BATCH}0000", accepted_ms=5),
        Ping(id=f"{BATCH}0001", users=("nobody",), message="x"),
    ]
    one = DeliveryBatch(Lease(keys.PINGS, "1-0", b"", 2, 9, False), BATCH, pings, lambda _: None)
    for _ in pings:
        one.begin_ping({})
    one.finish_planning()
    assert body(events(one)).finished == (FinishedPing(1),)


def test_an_endpoint_gets_only_its_event_types() -> None:
    one = batch()
    one.reject(3, "TooBig")
    assert body(events(one, PING_FAILED_DEVICES)).finished == ()
    assert [device.client_id for device in body(events(one, DEVICE_INVALID)).rejected] == ["b0"]
    assert body(events(one, PING_COMPLETED)).rejected == ()
    assert events(one, "lane.down") is None
    assert build_settlement(one).events is None


def test_cancelled_deliveries_are_counted_separately() -> None:
    one = batch()
    one.skipped[1]["cancelled"] = 4
    one.reject(3, "cancelled")
    found = body(events(one))
    assert found.finished[1] == FinishedPing(1, 1, 0, 2, 5)
    assert [device.client_id for device in found.rejected] == ["b0"]


def test_dead_tokens_survive_a_restart() -> None:
    one = batch()
    two = DeliveryBatch(one.lease, BATCH, one.pings, lambda _: None)
    for number in range(2):
        two.begin_ping({})
        for device in "ab":
            two.add_delivery(f"{device}{number}", "apns")
    two.finish_planning()
    two.restore(one.progress())
    two.reject(3, "TooBig")
    assert [device.dead for device in body(events(two)).rejected] == [True, False]


def test_a_settlement_without_its_own_keys_keeps_the_events_it_can_decide() -> None:
    one = batch()
    one.postpone(3, LATER, Postponed(5_000, 1, ""))
    reduced = without_own_keys(build_settlement(one, ALL))
    assert reduced is not None
    assert reduced.events is not None
    assert (list(reduced.events.unfinished), body(reduced.events).finished) == (
        [],
        (FinishedPing(0, 1, 1, 2),),
    )


def test_the_end_of_a_splitting_may_complete_a_broadcast() -> None:
    record = broadcast_events(BATCH, Ping(), ALL, {"chunk_missing": 3})
    assert record is not None
    assert record.unfinished == ((keys.receipt(BATCH), FinishedPing(0, 0, 0, 3)),)
    assert broadcast_events(BATCH, Ping(), EventPlan()) is None


class Recorded:
    """The trace of a batch; nothing is recorded."""

    def planned(self, batch: DeliveryBatch) -> None: ...

    def ended(self, batch: DeliveryBatch) -> None: ...


def test_the_traces_of_recorded_pings_are_in_the_record() -> None:
    traced = msgspec.structs.replace(Ping(), traceparent=TRACEPARENT)
    one = batch()
    one.pings = [one.pings[0], msgspec.structs.replace(one.pings[1], traceparent=TRACEPARENT)]
    one.reject(3, "TooBig")
    found = events(one)
    assert found is not None
    assert found.traces == b"", "tracing is off"
    one.trace = Recorded()
    found = events(one)
    assert found is not None
    assert msgspec.msgpack.decode(found.traces) == [[1, TRACEPARENT]]
    found = broadcast_events(BATCH, traced, ALL)
    assert found is not None
    assert msgspec.msgpack.decode(found.traces) == [[0, TRACEPARENT]]


async def all_events(outbox: Outbox) -> list[tuple[str, Any]]:
    cursor, found = "0-0", []
    while records := await outbox.next_second(cursor):
        cursor = records[-1].record
        for record in records:
            for kind, told in event_record(record, ALL.wanted).events.items():
                found += [(kind, event) for event in told]
    return found


async def completed(outbox: Outbox, one: WorkerCore, ping_id: str) -> dict[str, Any]:
    """The one completion of a ping, once its receipt is done."""

    async def is_done() -> bool:
        return (await one.report(ping_id))["state"] == "done"

    await until(is_done)
    (event,) = [event for kind, event in await all_events(outbox) if kind == PING_COMPLETED]
    assert event["ping_id"] == ping_id
    return dict(event)


@pytest.mark.parametrize("users", [1, 900])
async def test_a_ping_is_completed_once_after_its_retries(
    users: int,
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    make_link: MakeLink,
) -> None:
    names = [f"user{number}" for number in range(users)]
    await lay_users(redis_client, {name: (apple(f"{n:064x}"),) for n, name in enumerate(names)})
    apns.faults.add("503:every=7")
    outbox = Outbox(await make_link("outbox"))
    async with pipeline(redis_address, tmp_path, settings, events=ALL) as one:
        one.in_flight.start()
        one.consumer.start()
        ping_id = await one.append(*names)
        event = await completed(outbox, one, ping_id)
        assert event["counts"] == {"accepted": users, "rejected": 0}
        await one.consumer.close()
        await one.in_flight.close()


async def test_a_dead_token_is_reported(
    redis_address: str,
    redis_client: Redis,
    tmp_path: Path,
    settings: dict[str, Any],
    apns: ApnsSimulator,
    make_link: MakeLink,
) -> None:
    apns.faults.add("410")
    await lay_user(redis_client, "bob", [apple("ab" * 32)])
    outbox = Outbox(await make_link("outbox"))
    async with pipeline(redis_address, tmp_path, settings, events=ALL) as one:
        one.in_flight.start()
        one.consumer.start()
        ping_id = await one.append("bob")
        await completed(outbox, one, ping_id)
        found = dict(await all_events(outbox))
        assert found[DEVICE_INVALID]["reason"] == "Unregistered"
        assert found[PING_FAILED_DEVICES]["ping_id"] == ping_id
        await one.consumer.close()
        await one.in_flight.close()


def test_the_ping_of_a_chunk_has_the_index_that_it_has_in_its_batch() -> None:
    ping = Ping(id=f"{BATCH}0007", traceparent=TRACEPARENT)
    lease = Lease(keys.CHUNKS, "1-0", b"", 1, 9, False)
    one = DeliveryBatch(lease, BATCH, [ping], lambda _: None, first_ping_index=7)
    one.begin_ping({})
    one.add_delivery("a", "apns")
    one.finish_planning()
    one.reject(0, "TooBig")
    one.trace = Recorded()
    record = events(one)
    assert record is not None
    assert body(record).rejected == (RejectedDevice(7, "a", "apns", "TooBig", False),)
    assert record.unfinished == [(keys.receipt(BATCH), FinishedPing(7, 0, 1))]
    assert msgspec.msgpack.decode(record.traces) == [[7, TRACEPARENT]]
