"""All endpoints of a worker: reload, operators, and independence of each other."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.errors import NotFound
from gateway.metrics import Metrics
from gateway.queue.outbox import EventPlan, FinishedPing
from gateway.settings import Secret, Settings, WebhookSettings
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.webhooks import dispatcher, endpoint_delivery
from gateway.webhooks.conditions import ConditionMonitor
from gateway.webhooks.dispatcher import WebhookDispatcher
from gateway.webhooks.endpoint_delivery import EndpointDelivery
from gateway.webhooks.endpoint_state import EndpointStates
from gateway.webhooks.http_sink import HttpSink
from gateway.webhooks.outbox import Outbox
from protocols.webhooks.events import PING_COMPLETED, TEST
from tests.gateway.webhooks.conftest import Settling, batch_id
from tests.support.webhooks import SECRET, Receiver, receiving
from tests.support.worker_core import until


def settings(**urls: str) -> Settings:
    return Settings(
        webhooks={
            name: WebhookSettings(Secret(url), (Secret(SECRET),), (PING_COMPLETED,))
            for name, url in urls.items()
        }
    )


class Running:
    """A dispatcher, its plan and its metrics."""

    def __init__(self, connection: RedisConnection, worker: str = "tested:0") -> None:
        self.plan = EventPlan()
        self.metrics = Metrics()
        conditions = ConditionMonitor(Settings(), self.plan, list, Outbox(connection))
        self.dispatcher = WebhookDispatcher(connection, worker, self.plan, self.metrics, conditions)


@pytest.fixture
async def running(connection: RedisConnection) -> AsyncIterator[Running]:
    found = Running(connection)
    yield found
    await found.dispatcher.close()


async def listed(running: Running, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The first endpoint, once it meets the condition."""
    async with asyncio.timeout(30):
        while True:
            found = (await running.dispatcher.listing())[0]
            if condition(found):
                return found
            await asyncio.sleep(0.05)


async def test_a_reload_begins_changes_and_ends_endpoints(
    running: Running, receiver: Receiver, settling: Settling
) -> None:
    await running.dispatcher.open(Settings())
    assert not running.plan.wanted
    running.dispatcher.apply_settings(settings(crm=receiver.url))
    assert running.plan.wanted == {PING_COMPLETED}
    assert running.plan.limit == 268_435_456
    await asyncio.sleep(0.2)
    await settling.settle(batch_id(1), FinishedPing(0, 1))
    await receiver.until(lambda: receiver.accepted)
    async with receiving() as other:
        running.dispatcher.apply_settings(settings(crm=other.url))
        await settling.settle(batch_id(2), FinishedPing(0, 1))
        await other.until(lambda: len(other.events(PING_COMPLETED)) >= 1)
    assert len(receiver.messages) == 1
    running.dispatcher.apply_settings(Settings())
    assert not running.plan.wanted
    assert await running.dispatcher.listing() == []


async def test_a_changed_endpoint_keeps_the_leadership_that_its_former_delivery_releases(
    running: Running, receiver: Receiver, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise another worker could deliver at the same time."""
    may_close, released = asyncio.Event(), asyncio.Event()
    close, release = HttpSink.close, EndpointStates.release

    async def slow_close(sink: HttpSink) -> None:
        await may_close.wait()
        await close(sink)

    async def observed_release(states: EndpointStates, name: str) -> None:
        await release(states, name)
        released.set()

    monkeypatch.setattr(HttpSink, "close", slow_close)
    monkeypatch.setattr(EndpointStates, "release", observed_release)
    await running.dispatcher.open(settings(crm=receiver.url))
    await until(lambda: leads(redis_client))
    monkeypatch.setattr(endpoint_delivery, "POLL_S", 3_600.0)  # a lost leadership is not taken again
    running.dispatcher.apply_settings(settings(crm=f"{receiver.url}other"))
    await asyncio.sleep(0.1)
    may_close.set()
    await released.wait()
    await until(lambda: leads(redis_client), 5)
    assert await redis_client.get(keys.webhook_leader("crm")) == b"tested:0"


async def leads(redis: Redis) -> bool:
    return bool(await redis.get(keys.webhook_leader("crm")) == b"tested:0")


async def test_a_defect_does_not_end_the_deliveries(
    running: Running, receiver: Receiver, settling: Settling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_RETRY_S", 0.01)
    step, errors = EndpointDelivery.step, [ZeroDivisionError()]

    async def failing(delivery: EndpointDelivery) -> float:
        if errors:
            raise errors.pop()
        return await step(delivery)

    monkeypatch.setattr(EndpointDelivery, "step", failing)
    await running.dispatcher.open(settings(crm=receiver.url))
    await settling.settle(batch_id(1), FinishedPing(0, 1))
    await listed(running, lambda found: found["delivered"])
    assert not errors


async def test_a_slow_endpoint_delays_neither_another_one_nor_a_file(
    running: Running, receiver: Receiver, settling: Settling, tmp_path: Path
) -> None:
    async with receiving() as slow:
        slow.delay_s = 30.0
        file = tmp_path / "events"
        await running.dispatcher.open(settings(slow=slow.url, good=receiver.url, log=f"file://{file}"))
        for number in range(3):
            await settling.settle(batch_id(number), FinishedPing(0, 1))
            await receiver.until(lambda number=number: len(receiver.events(PING_COMPLETED)) > number)
        assert not slow.messages
        async with asyncio.timeout(30):
            while not file.exists() or file.read_text().count("ping_id") < 3:
                await asyncio.sleep(0.05)


async def test_the_list_shows_a_failing_endpoint_without_secrets(
    running: Running, receiver: Receiver, settling: Settling
) -> None:
    receiver.status = 503
    await running.dispatcher.open(settings(crm=receiver.url + "?key=hidden"))
    await settling.settle(batch_id(1), FinishedPing(0, 1))
    found = await listed(running, lambda one: one["state"] == "failing")
    assert (found["url"], found["failed"], found["error"]) == (
        receiver.url,
        1,
        "the receiver answered 503",
    )
    assert found["next_attempt"].endswith("Z")
    assert "hidden" not in str(found)
    assert SECRET not in str(found)


async def test_a_test_sends_one_message_and_enables_the_endpoint(
    running: Running, receiver: Receiver, settling: Settling
) -> None:
    receiver.status = 410
    await running.dispatcher.open(settings(crm=receiver.url))
    await settling.settle(batch_id(1), FinishedPing(0, 1))
    found = await listed(running, lambda one: one["state"] == "disabled")
    assert found["next_attempt"] is None
    result = await running.dispatcher.test("crm")
    assert (result["result"], result["status"]) == ("disabled", 410)
    receiver.status = 204
    result = await running.dispatcher.test("crm")
    assert (result["result"], result["status"], result["error"]) == ("delivered", 204, None)
    assert receiver.accepted[0].kind == TEST
    assert receiver.accepted[0].id == result["id"]
    await receiver.until(lambda: receiver.events(PING_COMPLETED))
    assert (await listed(running, lambda one: one["state"] == "delivering"))["delivered"] == 1


async def test_a_replay_delivers_again(running: Running, receiver: Receiver, settling: Settling) -> None:
    await running.dispatcher.open(settings(crm=receiver.url))
    await settling.settle(batch_id(1), FinishedPing(0, 1))
    await receiver.until(lambda: receiver.accepted)
    found = await running.dispatcher.replay("crm", 1_500)
    assert found["since"] == "1970-01-01T00:00:01.000Z"
    assert found["oldest"] is not None
    await receiver.until(lambda: len(receiver.accepted) == 2)
    assert len({message.id for message in receiver.accepted}) == 1


async def test_unknown_endpoints_are_not_found(running: Running) -> None:
    for operation in (running.dispatcher.test("none"), running.dispatcher.replay("none", 1)):
        with pytest.raises(NotFound):
            await operation


async def test_an_endpoint_whose_certificates_cannot_be_read_fails_alone(
    running: Running, receiver: Receiver, settling: Settling, tmp_path: Path
) -> None:
    bad = WebhookSettings(
        Secret("https://localhost/"), (Secret(SECRET),), (PING_COMPLETED,), tmp_path / "none"
    )
    good = settings(good=receiver.url).webhooks
    await running.dispatcher.open(Settings(webhooks={"bad": bad, **good}))
    await settling.settle(batch_id(1), FinishedPing(0, 1))
    await receiver.until(lambda: receiver.accepted)
    found = await listed(running, lambda one: one["state"] == "failing")
    assert (found["name"], "No such file" in found["error"] or "no such file" in found["error"]) == (
        "bad",
        True,
    )


async def test_another_worker_continues_when_a_leader_closes(
    running: Running, receiver: Receiver, settling: Settling, connection: RedisConnection, monkeypatch: Any
) -> None:
    monkeypatch.setattr(endpoint_delivery, "STANDBY_S", 0.1)
    await running.dispatcher.open(settings(crm=receiver.url))
    await settling.settle(batch_id(1), FinishedPing(0, 1))
    await receiver.until(lambda: receiver.accepted)
    other = Running(connection, "other:0")
    await other.dispatcher.open(settings(crm=receiver.url))
    await running.dispatcher.close()
    await settling.settle(batch_id(2), FinishedPing(0, 1))
    await receiver.until(lambda: len(receiver.events(PING_COMPLETED)) == 2)
    assert len({message.id for message in receiver.messages}) == 2
    await other.dispatcher.close()


async def test_a_full_redis_at_the_start_does_not_stop_it(
    running: Running, receiver: Receiver, redis_client: Redis, settling: Settling
) -> None:
    await redis_client.config_set("maxmemory", 1)
    try:
        await running.dispatcher.open(settings(crm=receiver.url))
    finally:
        await redis_client.config_set("maxmemory", 0)
    await listed(running, lambda one: one["state"] == "delivering")
    await settling.settle(batch_id(1), FinishedPing(0, 1))
    await receiver.until(lambda: receiver.accepted)
    assert [event["ping_id"] for event in receiver.events(PING_COMPLETED)] == [f"{batch_id(1)}0000"]


async def test_a_damaged_instant_of_an_endpoint_is_shown_as_the_last_one(
    running: Running, receiver: Receiver, redis_client: Redis
) -> None:
    await running.dispatcher.open(settings(crm=receiver.url))
    await redis_client.hset(keys.webhook_endpoint("crm"), mapping={"due": 2**62, "oldest": 2**62})
    assert (await running.dispatcher.listing())[0]["next_attempt"] == "9999-12-31T23:59:59.999Z"


async def test_a_file_of_authorities_that_is_replaced_is_read_again(
    running: Running, settling: Settling, tmp_path: Path
) -> None:
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with receiving(tls=context) as receiver:
        crm = WebhookSettings(Secret(receiver.url), (Secret(SECRET),), (PING_COMPLETED,), ca_file)
        await running.dispatcher.open(Settings(webhooks={"crm": crm}))
        await settling.settle(batch_id(1), FinishedPing(0, 1))
        await listed(running, lambda found: found["state"] == "failing")
        authority.cert_pem.write_to_path(str(ca_file))
        running.dispatcher.apply_settings(Settings(webhooks={"crm": crm}))
        await receiver.until(lambda: receiver.events(PING_COMPLETED))
        assert [event["ping_id"] for event in receiver.events(PING_COMPLETED)] == [f"{batch_id(1)}0000"]


async def test_without_endpoints_no_condition_is_examined(running: Running, receiver: Receiver) -> None:
    await running.dispatcher.open(settings(crm=receiver.url))
    assert "webhooks" in {task.get_name() for task in asyncio.all_tasks()}
    running.dispatcher.apply_settings(Settings())
    async with asyncio.timeout(30):
        while "webhooks" in {task.get_name() for task in asyncio.all_tasks()}:
            await asyncio.sleep(0.01)


async def test_after_the_close_no_leadership_is_left(
    running: Running, receiver: Receiver, redis_client: Redis
) -> None:
    await running.dispatcher.open(settings(crm=receiver.url))
    async with asyncio.timeout(30):
        while not await redis_client.exists(keys.webhook_leader("crm")):
            await asyncio.sleep(0.01)
    await running.dispatcher.close()
    assert await redis_client.exists(keys.webhook_leader("crm")) == 0


async def test_a_close_releases_a_leadership_whose_answer_has_not_arrived(
    running: Running, receiver: Receiver, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the next leader would wait for the end of the lease."""
    hold = EndpointStates.hold

    async def without_answer(states: EndpointStates, name: str) -> None:
        await hold(states, name)
        await asyncio.Event().wait()

    monkeypatch.setattr(EndpointStates, "hold", without_answer)
    await running.dispatcher.open(settings(crm=receiver.url))
    await until(lambda: leads(redis_client))
    await running.dispatcher.close()
    assert await redis_client.exists(keys.webhook_leader("crm")) == 0


async def test_the_age_of_the_oldest_event_is_in_seconds(
    running: Running, receiver: Receiver, redis_client: Redis
) -> None:
    await running.dispatcher.open(settings(crm=receiver.url))
    oldest_ms = SHARED_CLOCK.now_ms() - 7_200_000
    await redis_client.hset(keys.webhook_endpoint("crm"), "oldest", oldest_ms)
    found = await running.dispatcher.listing()
    assert 7_200 <= found[0]["oldest_age_s"] < 10_000
