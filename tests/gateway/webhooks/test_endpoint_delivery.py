"""Delivery to one endpoint: order, repeats, back-off with a clock under control, and what is lost."""

import asyncio
import itertools
from collections import defaultdict
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.queue.entries import encode
from gateway.queue.outbox import (
    ConditionEvent,
    FinishedPing,
    OutboxRecord,
    PingTrace,
    RejectedDevice,
    SettledEvents,
)
from gateway.settings import Secret, WebhookSettings
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.webhooks import endpoint_delivery
from gateway.webhooks.endpoint_delivery import digest_of
from gateway.webhooks.endpoint_state import PROGRESS
from gateway.webhooks.outbox import Outbox, StoredRecord
from protocols.webhooks.attempts import RETRY_S
from protocols.webhooks.events import LANE_DOWN, PING_COMPLETED, PING_FAILED_DEVICES
from protocols.webhooks.progress import DeliveryProgress
from tests.gateway.tracing.test_pings import PARENT, Spans
from tests.gateway.webhooks.conftest import BOTH, LIMIT, One, Settling, batch_id
from tests.support.webhooks import SECRET, Receiver, assert_repeats_are_equal, receiving

TEN_MINUTES_S = 600.0
LOAD = 300
"""Pings that are settled while the endpoint is down: the work of some seconds."""


async def settle(settling: Settling, number: int) -> None:
    """A ping with a rejected device, whose last delivery is settled later."""
    batch = batch_id(number)
    await settling.settle(batch, rejected=(RejectedDevice(0, "phone", "apns", "Unregistered", True),))
    await settling.settle(batch, FinishedPing(0, 1, 1))


async def test_events_of_a_second_arrive_as_messages(
    one: One, receiver: Receiver, settling: Settling
) -> None:
    for number in range(3):
        await settle(settling, number)
    await one.until(lambda: len(receiver.events(PING_COMPLETED)) == 3)
    assert [event["ping_id"] for event in receiver.events(PING_COMPLETED)] == [
        f"{batch_id(number)}0000" for number in range(3)
    ]
    assert one.count("webhook_deliveries_total", result="delivered") == len(receiver.messages)
    while await one.step() == 0.0:
        pass
    assert one.count("webhook_oldest_age_seconds") == 0
    state = await one.states.read("crm")
    assert (state.delivered, state.progress, state.number) == (len(receiver.messages), DeliveryProgress(), 6)


async def test_the_records_of_a_second_are_read_once(
    one: One, receiver: Receiver, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    next_second = Outbox.next_second

    async def reading(outbox: Outbox, cursor: str) -> list[StoredRecord]:
        read.append(cursor)
        return await next_second(outbox, cursor)

    monkeypatch.setattr(Outbox, "next_second", reading)
    for number in range(3):
        await settle(settling, number)
        await one.until(lambda delivered=number + 1: len(receiver.events(PING_COMPLETED)) == delivered)
    assert len(read) == len(set(read)) <= 6  # a settlement may be in two seconds


async def test_each_attempt_is_a_span_of_the_recorded_pings(
    receiver: Receiver, settling: Settling, connection: RedisConnection
) -> None:
    spans = Spans()
    one = One(connection, receiver.url, tracer=spans.tracer)
    await one.states.begin(["crm"])
    for number, traces in enumerate((b"", encode([PingTrace(0, PARENT)]), b"damaged")):
        batch = batch_id(number)
        body = encode(SettledEvents(batch, (FinishedPing(0, 1), FinishedPing(1, 1))))
        await settling.write(OutboxRecord(LIMIT, body, batch, traces=traces))
    statuses = iter([503])
    receiver.status = lambda: next(statuses, 204)
    await one.until(lambda: len(receiver.events(PING_COMPLETED)) == 6)
    failed, delivered = spans.all
    for span, status in ((failed, 503), (delivered, 204)):
        assert span.name == "webhook crm"
        assert span.attributes == {
            "rhopush.ping_id": f"{batch_id(1)}0000",
            "rhopush.webhook": "crm",
            "rhopush.event": PING_COMPLETED,
            "http.response.status_code": status,
        }
        assert f"{span.parent_id:016x}" == PARENT.split("-")[2]
        assert span.failed is (status != 204)
    await one.delivery.close()


async def test_an_endpoint_down_for_ten_minutes_under_load_gets_everything_in_order(
    one: One, receiver: Receiver, settling: Settling
) -> None:
    """Settlements go on all the time; the clock moves from one attempt to the next."""
    done: list[int] = []

    async def load() -> None:
        while True:
            await settle(settling, len(done))
            done.append(len(done))
            await asyncio.sleep(0.002)

    statuses = itertools.cycle((503, 500, 302, 429, 404))
    receiver.status = lambda: next(statuses)
    loading = asyncio.create_task(load())
    await one.until(lambda: receiver.messages)
    began_ms = one.clock.now
    settled = 0
    while one.clock.now < began_ms + TEN_MINUTES_S * 1000 or settled < LOAD:
        await one.step()
        await asyncio.sleep(0.02)
        settled = len(done)
    assert not receiver.accepted
    assert len({message.id for message in receiver.messages}) == 1
    assert len(receiver.messages) >= len(RETRY_S) - 2
    assert one.count("webhook_deliveries_total", result="failed") == len(receiver.messages)
    assert one.count("webhook_oldest_age_seconds") > 0

    answers = itertools.cycle((204, 204, 503))
    receiver.status = lambda: next(answers)
    await one.until(lambda: len(receiver.accepted) > 3)
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    pings = [f"{batch_id(number)}0000" for number in done]
    await one.until(lambda: set(pings) <= {event["ping_id"] for event in receiver.events(PING_COMPLETED)})

    assert_repeats_are_equal(receiver.messages)
    order: defaultdict[str, list[str]] = defaultdict(list)
    for message in receiver.accepted:
        for event in message.data:
            order[event["ping_id"]].append(message.kind)
    assert [order[ping] for ping in pings] == [[PING_FAILED_DEVICES, PING_COMPLETED]] * len(pings)
    assert [event["ping_id"] for event in receiver.events(PING_COMPLETED)][: len(pings)] == pings


async def test_each_message_has_its_own_failures_and_is_accepted_once(
    one: One, receiver: Receiver, settling: Settling
) -> None:
    await settle(settling, 1)
    statuses = iter([503, 204, 503])
    receiver.status = lambda: next(statuses, 204)
    await one.until(lambda: len(receiver.messages) == 3)
    assert (await one.states.read("crm")).attempts == 1
    await one.until(lambda: receiver.events(PING_COMPLETED))
    assert [message.kind for message in receiver.accepted] == [PING_FAILED_DEVICES, PING_COMPLETED]


async def test_the_next_leader_repeats_with_the_same_id(
    one: One, receiver: Receiver, settling: Settling, connection: RedisConnection, redis_client: Redis
) -> None:
    """A worker is killed after the receiver accepted a message, and before that was stored."""
    await settle(settling, 1)
    await settle(settling, 2)
    await one.until(lambda: receiver.accepted)
    before = [message.id for message in receiver.accepted]
    state = keys.webhook_endpoint("crm")
    await redis_client.hdel(state, *PROGRESS)
    await redis_client.hset(state, "cursor", "0-0")
    await redis_client.delete(keys.webhook_leader("crm"))
    other = One(connection, receiver.url, worker="other:0")
    await other.until(lambda: len(receiver.accepted) >= len(before) + 2)
    assert_repeats_are_equal(receiver.messages)
    assert {message.id for message in receiver.accepted[len(before) :]} >= set(before)
    assert await one.delivery.step() == endpoint_delivery.STANDBY_S
    await other.delivery.close()
    assert await one.delivery.step() < endpoint_delivery.STANDBY_S


async def test_410_disables_until_the_settings_change(
    one: One, receiver: Receiver, settling: Settling, connection: RedisConnection
) -> None:
    await settle(settling, 1)
    receiver.status = 410
    await one.until(lambda: receiver.messages)
    receiver.status = 204
    for _ in range(3):
        assert await one.step() <= endpoint_delivery.POLL_S
    assert len(receiver.messages) == 1
    assert one.count("webhook_disabled") == 1
    assert one.count("webhook_oldest_age_seconds") > 0
    assert (await one.states.read("crm")).disabled == digest_of(one.settings)
    changed = One(connection, receiver.url, PING_COMPLETED)
    await changed.until(lambda: receiver.accepted)
    assert changed.count("webhook_disabled") == 0
    await changed.delivery.sink.close()


async def test_records_that_were_removed_are_counted(
    one: One, receiver: Receiver, settling: Settling
) -> None:
    await settling.settle(batch_id(0), FinishedPing(0, 1))
    await one.until(lambda: receiver.accepted)
    while await one.step() == 0.0:
        pass
    for number in range(1, 40):
        await settling.settle(batch_id(number), FinishedPing(0, 1), limit=600)
    last = f"{batch_id(39)}0000"  # the second in which it was settled may be later than that of the others
    await one.until(lambda: receiver.events(PING_COMPLETED)[-1]["ping_id"] == last)
    arrived = len(receiver.events(PING_COMPLETED))
    lost = 40 - arrived
    assert lost > 20
    assert one.count("webhook_records_lost_total") == lost
    assert (await one.states.read("crm")).lost == lost


async def test_a_replay_repeats_with_the_same_ids(one: One, receiver: Receiver, settling: Settling) -> None:
    await settle(settling, 1)
    await one.until(lambda: receiver.events(PING_COMPLETED))
    while await one.step() == 0.0:
        pass
    before = [message.id for message in receiver.accepted]
    await one.states.change("crm", {"replay": 1000}, as_leader=False)
    await one.until(lambda: len(receiver.accepted) == 2 * len(before))
    assert [message.id for message in receiver.accepted] == before * 2
    assert_repeats_are_equal(receiver.messages)


async def test_a_slow_endpoint_delays_no_other(
    one: One, receiver: Receiver, settling: Settling, connection: RedisConnection
) -> None:
    await settle(settling, 1)
    async with receiving() as slow:
        slow.delay_s = 30.0
        other = One(connection, slow.url, name="slow")
        waiting = asyncio.create_task(other.delivery.step())
        await one.until(lambda: receiver.events(PING_COMPLETED))
        assert not slow.messages
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await other.delivery.sink.close()


async def test_event_types_of_other_endpoints_are_skipped(
    connection: RedisConnection, receiver: Receiver, settling: Settling
) -> None:
    only = One(connection, receiver.url, PING_COMPLETED)
    await only.states.begin(["crm"])
    for number in range(3):
        await settle(settling, number)
    await only.until(lambda: len(receiver.events(PING_COMPLETED)) == 3)
    assert {message.kind for message in receiver.messages} == {PING_COMPLETED}
    await only.delivery.close()


async def test_a_delay_from_before_a_change_of_the_clock_does_not_hold(
    one: One, receiver: Receiver, settling: Settling, redis_client: Redis
) -> None:
    await settle(settling, 1)
    await redis_client.hset(keys.webhook_endpoint("crm"), "due", one.clock.now + 10**9)
    async with asyncio.timeout(30):
        while not receiver.events(PING_COMPLETED):
            await asyncio.sleep(min(await one.delivery.step(), 0.2))
    assert [event["ping_id"] for event in receiver.events(PING_COMPLETED)] == [f"{batch_id(1)}0000"]


async def test_a_record_from_before_a_change_of_the_clock_does_not_wait(
    one: One, receiver: Receiver, settling: Settling, redis_client: Redis
) -> None:
    await settle(settling, 1)
    await one.until(lambda: receiver.events(PING_COMPLETED))
    now_s, _ = await redis_client.time()
    await redis_client.execute_command("XSETID", keys.WEBHOOK_EVENTS, f"{(now_s + 3600) * 1000}-0")
    await settle(settling, 2)
    await one.until(lambda: len(receiver.events(PING_COMPLETED)) == 2)
    ids = [event["ping_id"] for event in receiver.events(PING_COMPLETED)]
    assert ids == [f"{batch_id(number)}0000" for number in (1, 2)]


async def one_second(redis: Redis, numbers: range) -> None:
    """Records of one second that has ended: each has a rejected device and a completed ping."""
    for number in numbers:
        body = encode(
            SettledEvents(
                batch_id(number), (FinishedPing(0, 1),), (RejectedDevice(0, "a", "apns", "TooBig"),)
            )
        )
        fields = {"s": 100, "q": number + 1, "w": body, "b": batch_id(number), "d": ""}
        await redis.xadd(keys.WEBHOOK_EVENTS, fields, id=f"5000-{number}")
    await redis.hset(keys.WEBHOOK_OUTBOX, mapping={"bytes": 10**6, "number": numbers.stop})


@pytest.mark.parametrize("accepted", [False, True])
async def test_records_lost_in_a_partly_delivered_second_repeat_no_event_under_another_id(
    one: One, receiver: Receiver, redis_client: Redis, accepted: bool
) -> None:
    """The outbox overflows after the first message was accepted, while the second one is attempted; the receiver has
    possibly processed it."""
    await one_second(redis_client, range(6))
    statuses = iter([204, 503])
    receiver.status = lambda: next(statuses, 204)
    await one.until(lambda: len(receiver.messages) == 2)
    await redis_client.xtrim(keys.WEBHOOK_EVENTS, minid="5000-3", approximate=False)
    if not accepted:
        await redis_client.hdel(keys.webhook_endpoint("crm"), "attempts", "due")
    while await one.step() == 0.0:
        pass
    assert [message.kind for message in receiver.messages] == [PING_FAILED_DEVICES] + [PING_COMPLETED] * 2
    assert receiver.messages[1].id == receiver.messages[2].id
    assert [event["ping_id"] for event in receiver.messages[2].data] == [
        f"{batch_id(number)}0000" for number in (3, 4, 5)
    ]
    assert (await one.states.read("crm")).progress == DeliveryProgress()


@pytest.mark.parametrize("done", [0, 1, 2])
async def test_records_that_are_added_to_a_partly_delivered_second_follow_it(
    receiver: Receiver, redis_client: Redis, connection: RedisConnection, done: int
) -> None:
    """The clock of Redis was set back: its stream goes on with the last millisecond."""
    one = One(connection, receiver.url, *BOTH, LANE_DOWN)
    await one.states.begin(["crm"])
    await one_second(redis_client, range(3))
    down = encode(ConditionEvent(LANE_DOWN, {"lane": "apns:one"}))
    await redis_client.xadd(keys.WEBHOOK_EVENTS, {"s": 100, "q": 4, "c": down}, id="5000-3")
    statuses = iter([204] * done + [503])
    receiver.status = lambda: next(statuses, 204)
    await one.until(lambda: len(receiver.messages) == done + 1)
    await one_second(redis_client, range(4, 7))
    while await one.step() == 0.0:
        pass
    assert_repeats_are_equal(receiver.messages)
    for kind in BOTH:
        assert [event["ping_id"] for event in receiver.events(kind)] == [
            f"{batch_id(number)}0000" for number in (0, 1, 2, 4, 5, 6)
        ]
    assert len(receiver.events(LANE_DOWN)) == 1
    await one.delivery.close()


async def test_changed_settings_do_not_wait_for_the_delay_of_the_earlier_ones(
    one: One, receiver: Receiver, redis_client: Redis, connection: RedisConnection
) -> None:
    await one_second(redis_client, range(1))
    receiver.status, receiver.headers = 503, {"Retry-After": "3600"}
    await one.until(lambda: receiver.messages)
    receiver.status = 204
    corrected = One(connection, receiver.url, PING_COMPLETED)
    corrected.clock = one.clock
    corrected.clock.now = 1_800_000_000_000
    await one.delivery.step()
    assert len(receiver.messages) == 1
    await corrected.delivery.step()
    assert [message.kind for message in receiver.accepted] == [PING_COMPLETED]
    await corrected.delivery.sink.close()


async def test_a_file_of_authorities_that_was_replaced_changes_the_digest(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    settings = WebhookSettings(Secret("https://crm"), (Secret(SECRET),), BOTH, file)
    found = {digest_of(WebhookSettings(Secret("https://crm"), (Secret(SECRET),), BOTH))}
    for content in ("one", "two", None):
        if content is None:
            file.unlink()
        else:
            file.write_text(content)
        found.add(digest_of(settings))
    assert len(found) == 4


async def test_an_endpoint_that_could_not_begin_at_the_start_receives_no_earlier_event(
    receiver: Receiver, redis_client: Redis, connection: RedisConnection, settling: Settling
) -> None:
    await one_second(redis_client, range(3))
    late = One(connection, receiver.url, PING_COMPLETED)
    await late.delivery.step()
    await settling.settle(batch_id(9), FinishedPing(0, 1))
    await late.until(lambda: receiver.messages)
    assert [event["ping_id"] for event in receiver.events(PING_COMPLETED)] == [f"{batch_id(9)}0000"]
    await late.delivery.close()


@pytest.mark.parametrize("status", [503, 410])
async def test_records_that_are_removed_while_an_endpoint_waits_are_counted_once_a_minute(
    one: One, receiver: Receiver, redis_client: Redis, status: int
) -> None:
    await one_second(redis_client, range(1))
    await one.until(lambda: receiver.messages)
    while await one.step() == 0.0:
        pass
    receiver.status = status
    await one_second(redis_client, range(1, 4))
    await one.until(lambda: receiver.messages[-1].status == status)
    one.clock.now = (await one.states.read("crm")).due_ms - 4_000
    for kept in (2, 3):
        await redis_client.xtrim(keys.WEBHOOK_EVENTS, maxlen=3 - kept + 1, approximate=False)
        await one.delivery.step()
    assert one.count("webhook_records_lost_total") == 1
    assert (await one.states.read("crm")).lost == 1


async def test_events_that_are_all_removed_are_counted_without_another_one(
    one: One, receiver: Receiver, redis_client: Redis
) -> None:
    await one_second(redis_client, range(1))
    await one.until(lambda: receiver.messages)
    while await one.step() == 0.0:
        pass
    receiver.status = 503
    await one_second(redis_client, range(1, 4))
    await one.until(lambda: receiver.messages[-1].status == 503)
    await redis_client.xtrim(keys.WEBHOOK_EVENTS, maxlen=0, approximate=False)
    await one.until(lambda: one.count("webhook_records_lost_total"))
    await one.step()
    state = await one.states.read("crm")
    assert (state.lost, state.number, state.oldest_ms, state.due_ms) == (3, 4, 0, 0)
    assert one.count("webhook_oldest_age_seconds") == 0
    receiver.status = 204
    await one_second(redis_client, range(4, 5))
    await one.until(lambda: len(receiver.events(PING_COMPLETED)) == 2)
    assert one.count("webhook_records_lost_total") == 3


async def test_a_leader_that_waits_for_a_retry_renews_its_lease(one: One, redis_client: Redis) -> None:
    """It also sees a replay and the end of the pause soon."""
    await redis_client.hset(keys.webhook_endpoint("crm"), "due", one.clock.now + 600_000)
    assert await one.delivery.step() == endpoint_delivery.POLL_S
    one.clock.now += 599_900
    assert await one.delivery.step() == pytest.approx(0.1)


async def test_only_the_first_failure_of_a_message_is_logged(
    one: One, receiver: Receiver, settling: Settling
) -> None:
    receiver.status = 500
    await settle(settling, 1)
    with capture_logs() as logs:
        await one.until(lambda: one.count("webhook_deliveries_total", result="failed") >= 3)
    assert [line["event"] for line in logs].count("webhook_failed") == 1


async def test_records_that_follow_each_other_are_no_loss(
    one: One, receiver: Receiver, settling: Settling
) -> None:
    with capture_logs() as logs:
        for number in (1, 2):
            await settle(settling, number)
            await one.until(lambda number=number: len(receiver.events(PING_COMPLETED)) == number)
    assert "webhook_events_lost" not in [line["event"] for line in logs]
